import { describe, expect, it } from 'vitest';
import { waitForRest } from '../../../bench/lab/rest.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** A process that takes a core until a moment, and a hundredth of one from then on. */
const processOf = (clock: FakeClock, name: string, busyUntilMs: number) => ({
  name,
  async readUsage() {
    const nowMs = clock.nowMs();
    const busyMs = Math.min(nowMs, busyUntilMs);
    return { cpuSeconds: (busyMs + (nowMs - busyMs) / 100) / 1000, peakRssBytes: 0, rssBytes: 0 };
  },
});

describe('waiting for rest', () => {
  it('ends two quiet steps after the last process has come to rest', async () => {
    const clock = new FakeClock();
    let isOver = false;
    const waiting = waitForRest([processOf(clock, 'n0', 1000), processOf(clock, 'n1', 3000)], false, clock).then(() => {
      isOver = true;
    });
    await clock.advanceAsync(3999);
    expect(isOver).toBe(false);
    await clock.advanceAsync(1);
    await waiting;
  });

  it('fails with the names of those that never rest', async () => {
    const clock = new FakeClock();
    const restless = processOf(clock, 'n1', Number.POSITIVE_INFINITY);
    const waiting = waitForRest([processOf(clock, 'n0', 1000), restless], false, clock);
    const failed = expect(waiting).rejects.toThrow('not at rest after 120 s: n1 (1.00 cores)');
    await clock.advanceAsync(121_000);
    await failed;
  });

  it('has nobody to wait for where no process is measured', async () => {
    const clock = new FakeClock();
    const waiting = waitForRest([], false, clock);
    await clock.advanceAsync(1000);
    await waiting;
  });
});
