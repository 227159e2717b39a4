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

export interface MetricInfo {
  readonly name: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
}

/** Creates metrics on prom-client. */
export function createPrometheusMetrics(): PrometheusMetrics {
  const registry = new prometheus.Registry();
  const infos: MetricInfo[] = [];
  const listeners: (() => void)[] = [];
  const configure = <Label extends string>(kind: MetricInfo['kind'], definition: MetricDefinition<Label>) => {
    const labels = definition.labels ?? [];
    infos.push({ name: definition.name, kind, help: definition.help, labels });
    return { name: definition.name, help: definition.help, labelNames: [...labels], registers: [registry] };
  };
  return {
    counter<Label extends string = never>(definition: MetricDefinition<Label>): Counter<Label> {
      const counter = new prometheus.Counter<string>(configure('counter', definition));
      return { add: (amount, labels) => (labels === undefined ? counter.inc(amount) : counter.inc(labels, amount)) };
    },
    gauge<Label extends string = never>(definition: MetricDefinition<Label>): Gauge<Label> {
      const gauge = new prometheus.Gauge<string>(configure('gauge', definition));
      return { set: (value, labels) => (labels === undefined ? gauge.set(value) : gauge.set(labels, value)) };
    },
    histogram<Label extends string = never>(
      definition: MetricDefinition<Label> & { buckets: readonly number[] },
    ): Histogram<Label> {
      const histogram = new prometheus.Histogram<string>({
        ...configure('histogram', definition),
        buckets: [...definition.buckets],
      });
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
    definitions: () => infos.toSorted((left, right) => left.name.localeCompare(right.name)),
    onCollect: (listener) => void listeners.push(listener),
  };
}
