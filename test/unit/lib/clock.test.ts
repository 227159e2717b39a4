import { describe, expect, it } from 'vitest';
import { delay, seededRandom, systemClock, systemRandom } from '../../../src/lib/clock.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const never = new AbortController().signal;

describe('clock', () => {
  it('runs on the system', async () => {
    const startedMs = systemClock.nowMs();
    await delay(systemClock, 1, never);
    expect(systemClock.nowMs()).toBeGreaterThan(startedMs);
    expect(systemClock.wallMs()).toBeGreaterThan(Date.UTC(2020, 0, 1));
    let ran = false;
    systemClock.schedule(0, () => {
      ran = true;
    })();
    await delay(systemClock, 2, never);
    expect(ran).toBe(false);
    expect(systemRandom.next()).toBeLessThan(1);
  });

  it('delays until the time has come, or until the signal', async () => {
    const clock = new FakeClock();
    const aborter = new AbortController();
    const left = delay(clock, 10, aborter.signal);
    const stayed = delay(clock, 10, never);
    aborter.abort(new Error('enough'));
    await expect(left).rejects.toThrow('enough');
    await expect(delay(clock, 10, aborter.signal)).rejects.toThrow('enough');
    expect(clock.pending).toBe(1);
    clock.advance(10);
    await stayed;
    expect(clock.pending).toBe(0);
  });

  it('makes the same numbers from the same seed, all in [0, 1)', () => {
    const draw = (seed: number) => {
      const random = seededRandom(seed);
      return Array.from({ length: 1000 }, () => random.next());
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    expect(draw(9).every((value) => value >= 0 && value < 1)).toBe(true);
    expect(draw(9).reduce((sum, value) => sum + value, 0) / 1000).toBeCloseTo(0.5, 1);
  });
});

describe('FakeClock', () => {
  it('runs callbacks in the order of their time, then of their scheduling, each at its own time', () => {
    const clock = new FakeClock(1000);
    const ran: string[] = [];
    const note = (name: string) => () => ran.push(`${name}@${clock.nowMs()}`);
    clock.schedule(20, note('late'));
    clock.schedule(10, note('a'));
    clock.schedule(10, note('b'));
    clock.schedule(5, note('cancelled'))();
    clock.schedule(10, () => clock.schedule(5, note('nested')));
    clock.schedule(99, note('never'));
    clock.advance(30);
    expect(ran).toEqual(['a@10', 'b@10', 'nested@15', 'late@20']);
    expect([clock.nowMs(), clock.wallMs(), clock.pending]).toEqual([30, 1030, 1]);
  });

  it('lets promises continue between callbacks when advanced asynchronously', async () => {
    const clock = new FakeClock();
    let turns = 0;
    const loop = (async () => {
      for (; turns < 5; turns += 1) await delay(clock, 10, never);
    })();
    await clock.advanceAsync(50);
    expect(turns).toBe(5);
    await loop;
  });
});
