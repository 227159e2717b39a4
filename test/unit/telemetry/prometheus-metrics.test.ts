import { expect, test, vi } from 'vitest';
import { lateSeconds, startProcessMetrics } from '../../../src/telemetry/process-metrics.ts';
import { createPrometheusMetrics } from '../../../src/telemetry/prometheus-metrics.ts';

test('shows counters, gauges and histograms in the text format', async () => {
  const metrics = createPrometheusMetrics();
  metrics.counter<'source'>({ name: 'a_total', help: 'A.', labels: ['source'] }).add(3, { source: 'peer' });
  metrics.gauge({ name: 'b_count', help: 'B.' }).set(7);
  metrics.histogram({ name: 'c_seconds', help: 'C.', buckets: [1, 2] }).observe(1.5);
  const text = await metrics.text();
  expect(text).toContain('a_total{source="peer"} 3');
  expect(text).toContain('b_count 7');
  expect(text).toContain('c_seconds_bucket{le="2"} 1');
  expect(metrics.contentType).toContain('text/plain');
});

test('keeps daemons in one process apart', async () => {
  const [one, other] = [createPrometheusMetrics(), createPrometheusMetrics()];
  one.counter({ name: 'a_total', help: 'A.' }).add(1);
  other.counter({ name: 'a_total', help: 'A.' }).add(5);
  expect(await one.text()).toContain('a_total 1');
  expect(await other.text()).toContain('a_total 5');
});

test('lists what is defined, for the reference page', () => {
  const metrics = createPrometheusMetrics();
  metrics.gauge<'x'>({ name: 'b', help: 'B.', labels: ['x'] });
  metrics.counter({ name: 'a_total', help: 'A.' });
  expect(metrics.definitions()).toEqual([
    { name: 'a_total', kind: 'counter', help: 'A.', labels: [] },
    { name: 'b', kind: 'gauge', help: 'B.', labels: ['x'] },
  ]);
});

test('gives the same metric to all who define it alike, and refuses another of its name', async () => {
  const metrics = createPrometheusMetrics();
  metrics.counter({ name: 'a_total', help: 'A.' }).add(1);
  metrics.counter({ name: 'a_total', help: 'A.' }).add(2);
  expect(await metrics.text()).toContain('a_total 3');
  expect(() => metrics.gauge({ name: 'a_total', help: 'A.' })).toThrow('defined twice');
});

test('measures the process when asked', async () => {
  const metrics = createPrometheusMetrics();
  using _ = startProcessMetrics(metrics);
  const text = await metrics.text();
  expect(Number(/^process_resident_memory_bytes (\S+)/m.exec(text)?.[1])).toBeGreaterThan(10_000_000);
  expect(text).toContain('nodejs_eventloop_lag_seconds{quantile="0.99"}');
});

test.each([
  [100, 0],
  [99, 0],
  [350, 0.25],
  [Number.NaN, 0],
])('of %d ms between two timers of 100 ms the second is %d s late', (gapMs, seconds) => {
  expect(lateSeconds(gapMs * 1e6)).toBeCloseTo(seconds, 9);
});

test('tells of an event loop that stands still', async () => {
  const metrics = createPrometheusMetrics();
  using _ = startProcessMetrics(metrics);
  const stopped = new Int32Array(new SharedArrayBuffer(4));
  const blocking = setInterval(() => Atomics.wait(stopped, 0, 0, 400), 50);
  try {
    // Each look begins a new measurement, which needs a few timers.
    await vi.waitFor(
      async () => {
        const text = await metrics.text();
        expect(Number(/lag_seconds\{quantile="1"\} (\S+)/.exec(text)?.[1])).toBeGreaterThan(0.2);
      },
      { timeout: 20_000, interval: 1_500 },
    );
  } finally {
    clearInterval(blocking);
  }
});
