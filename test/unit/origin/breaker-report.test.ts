import { expect, it } from 'vitest';
import { createHealth } from '../../../src/health/conditions.ts';
import { createBreakerReport } from '../../../src/origin/breaker-report.ts';
import { createOriginMetrics } from '../../../src/origin/metrics.ts';
import type { OriginStatus } from '../../../src/origin/origin.ts';
import { noMetrics } from '../../../src/telemetry/metrics.ts';
import { FakeClock } from '../../support/fake-clock.ts';

it('raises a condition per kind of stop, names the namespaces, and clears it by itself when a limit is over', () => {
  const clock = new FakeClock();
  const health = createHealth(clock);
  let state: OriginStatus['state'] = 'ok';
  const status = () => [
    {
      namespace: 'quay.io',
      url: '',
      state,
      requests: 0,
      failures: 0,
      receivedBytes: 0,
      retryAtMs: clock.wallMs() + 500,
    },
  ];
  using report = createBreakerReport({ clock, metrics: createOriginMetrics(noMetrics), health }, status);
  const codes = () => health.conditions().map(({ code }) => code);

  state = 'open';
  report.update();
  expect(codes()).toEqual(['ORIGIN_BREAKER_OPEN']);
  expect(health.conditions()[0]?.text).toContain('quay.io');
  state = 'limited';
  report.update();
  expect(codes()).toEqual(['ORIGIN_RATE_LIMITED']);
  state = 'ok';
  clock.advance(600);
  expect(codes()).toEqual([]);
  expect(clock.pending).toBe(0);
});
