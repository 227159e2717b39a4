import * as prometheus from 'prom-client';
import type { Counter, Gauge, Histogram, MetricDefinition, Metrics } from './metrics.ts';

/** Metrics that can be shown: one registry per daemon, so that several in one process do not add up. */
export interface PrometheusMetrics extends Metrics {
  /** Renders all values in the Prometheus text format. */
  text(): Promise<string>;
  readonly contentType: string;
  /** Lists what has been defined, for the reference page. */
  definitions(): readonly MetricInfo[];
  /** Calls back before each rendering, for values that are looked up rather than counted. */
  onCollect(listener: () => void): void;
}

interface MetricInfo {
  readonly name: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
}

/** Creates metrics on prom-client. Defining one again gives the one there is: several parts of a folder may share it. */
export function createPrometheusMetrics(): PrometheusMetrics {
  const registry = new prometheus.Registry();
  const defined = new Map<string, MetricInfo & { readonly metric: object }>();
  const listeners: (() => void)[] = [];

  const define = <Label extends string, Metric extends object>(
    kind: MetricInfo['kind'],
    definition: MetricDefinition<Label>,
    create: (configuration: {
      name: string;
      help: string;
      labelNames: string[];
      registers: prometheus.Registry[];
    }) => Metric,
  ): Metric => {
    const { name, help } = definition;
    const labels: readonly string[] = definition.labels ?? [];
    const known = defined.get(name);
    if (known !== undefined) {
      if (known.kind !== kind || known.labels.join() !== labels.join()) {
        throw new TypeError(`metric ${name} is defined twice, and differently`);
      }
      return known.metric as Metric;
    }
    const metric = create({ name, help, labelNames: [...labels], registers: [registry] });
    defined.set(name, { name, kind, help, labels, metric });
    return metric;
  };

  return {
    counter<Label extends string = never>(definition: MetricDefinition<Label>): Counter<Label> {
      const counter = define('counter', definition, (settings) => new prometheus.Counter<string>(settings));
      const tally = new Tally(definition.labels ?? []);
      listeners.push(() => {
        for (const { labels, amount } of tally.take()) counter.inc(labels, amount);
      });
      return { add: (amount, labels) => tally.add(amount, labels) };
    },
    gauge<Label extends string = never>(definition: MetricDefinition<Label>): Gauge<Label> {
      const gauge = define('gauge', definition, (settings) => new prometheus.Gauge<string>(settings));
      return { set: (value, labels) => (labels === undefined ? gauge.set(value) : gauge.set(labels, value)) };
    },
    histogram<Label extends string = never>(
      definition: MetricDefinition<Label> & { buckets: readonly number[] },
    ): Histogram<Label> {
      const buckets = [...definition.buckets];
      const histogram = define(
        'histogram',
        definition,
        (settings) => new prometheus.Histogram<string>({ ...settings, buckets }),
      );
      return {
        observe: (value, labels) =>
          labels === undefined ? histogram.observe(value) : histogram.observe(labels, value),
      };
    },
    text() {
      for (const listener of listeners) listener();
      return registry.metrics();
    },
    contentType: registry.contentType,
    definitions: () =>
      [...defined.values()]
        .map(({ name, kind, help, labels }) => ({ name, kind, help, labels }))
        .sort((left, right) => left.name.localeCompare(right.name)),
    onCollect: (listener) => void listeners.push(listener),
  };
}

/** Sums what a counter was given between two renderings: hot paths count every arrival of bytes, the library hashes labels each time. */
class Tally<Label extends string> {
  readonly #names: readonly Label[];
  readonly #sums = new Map<string, { readonly labels: Record<string, string>; amount: number }>();

  constructor(names: readonly Label[]) {
    this.#names = names;
  }

  add(amount: number, labels: Record<Label, string> | undefined): void {
    let key = '';
    if (labels !== undefined) for (const name of this.#names) key += `${labels[name]}\0`;
    const sum = this.#sums.get(key);
    if (sum === undefined) this.#sums.set(key, { labels: labels ?? {}, amount });
    else sum.amount += amount;
  }

  /** Returns the sums and starts anew. */
  take(): readonly { readonly labels: Record<string, string>; readonly amount: number }[] {
    const sums = [...this.#sums.values()];
    this.#sums.clear();
    return sums;
  }
}
