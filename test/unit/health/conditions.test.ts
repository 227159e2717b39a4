import { expect, test } from 'vitest';
import { createHealth } from '../../../src/health/conditions.ts';
import { observeHealth } from '../../../src/health/observe.ts';
import { createLogger } from '../../../src/telemetry/logger.ts';
import { createPrometheusMetrics } from '../../../src/telemetry/prometheus-metrics.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const condition = {
  code: 'ORIGIN_BREAKER_OPEN',
  severity: 'degraded',
  text: 'docker.io does not answer',
  remedy: 'wait',
} as const;

test('is ready until something blocks', () => {
  const health = createHealth(new FakeClock());
  expect(health.isReady).toBe(true);
  health.set(condition);
  expect(health.isReady).toBe(true);
  health.set({ ...condition, code: 'STORE_FULL', severity: 'blocking' });
  expect(health.isReady).toBe(false);
  expect(health.conditions().map(({ code }) => code)).toEqual(['STORE_FULL', 'ORIGIN_BREAKER_OPEN']);
  health.clear('STORE_FULL');
  expect(health.isReady).toBe(true);
});

test('keeps the start of a condition that is set again', () => {
  const clock = new FakeClock(1000);
  const health = createHealth(clock);
  health.set(condition);
  clock.advance(50);
  health.set({ ...condition, text: 'still not' });
  expect(health.conditions()).toMatchObject([{ sinceMs: 1000, text: 'still not' }]);
});

test('tells of beginnings and ends once, in the log and in the gauges', async () => {
  const health = createHealth(new FakeClock());
  const metrics = createPrometheusMetrics();
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', format: 'text', destination: { write: (line) => lines.push(line) } });
  observeHealth(health, logger, metrics);
  health.set(condition);
  health.set(condition);
  expect(await metrics.text()).toContain('shoal_health_conditions_count{severity="degraded"} 1');
  health.clear(condition.code);
  health.clear(condition.code);
  expect(lines).toHaveLength(2);
  expect(lines[0]).toContain('warn');
  expect(await metrics.text()).toContain('shoal_health_conditions_count{severity="degraded"} 0');
});
