/**
 * Counters, gauges and histograms, without the library behind them. Each folder makes its own with `createXMetrics(metrics)` and
 * gets the object passed in. Names are `shoal_<folder>_<what>_<unit>`; labels come from closed sets, never digest, peer or repository.
 */
export interface Metrics {
  counter<Label extends string = never>(definition: MetricDefinition<Label>): Counter<Label>;
  gauge<Label extends string = never>(definition: MetricDefinition<Label>): Gauge<Label>;
  histogram<Label extends string = never>(
    definition: MetricDefinition<Label> & { buckets: readonly number[] },
  ): Histogram<Label>;
}

export interface MetricDefinition<Label extends string> {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly Label[];
}

export interface Counter<Label extends string = never> {
  add(amount: number, labels?: Record<Label, string>): void;
}

export interface Gauge<Label extends string = never> {
  set(value: number, labels?: Record<Label, string>): void;
}

export interface Histogram<Label extends string = never> {
  observe(value: number, labels?: Record<Label, string>): void;
}

const ignore = () => {};

/** Counts nothing; for tests. */
export const noMetrics: Metrics = {
  counter: () => ({ add: ignore }),
  gauge: () => ({ set: ignore }),
  histogram: () => ({ observe: ignore }),
};
