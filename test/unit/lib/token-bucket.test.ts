import { describe, expect, it } from 'vitest';
import { TokenBucket } from '../../../src/lib/token-bucket.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const never = new AbortController().signal;

describe('TokenBucket', () => {
  it.each([undefined, 0])('lets everything pass at rate %s', async (rateBytesPerSecond) => {
    const bucket = new TokenBucket(new FakeClock(), { rateBytesPerSecond });
    for (let index = 0; index < 100; index += 1) await bucket.take(1e9, never);
    expect(bucket.isUnlimited).toBe(true);
  });

  it('lets the burst pass at once, then holds the rate', async () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket(clock, { rateBytesPerSecond: 1000, burstBytes: 100 });
    const doneAtMs: number[] = [];
    const takes = Array.from({ length: 11 }, async () => {
      await bucket.take(100, never);
      doneAtMs.push(clock.nowMs());
    });
    await clock.advanceAsync(2000);
    await Promise.all(takes);
    expect(doneAtMs[0]).toBe(0);
    expect(doneAtMs.at(-1)).toBeGreaterThanOrEqual(900);
    expect(doneAtMs.at(-1)).toBeLessThan(1100);
    expect(clock.pending).toBe(0);
  });

  it('lets a take larger than the burst pass and makes the next one pay', async () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket(clock, { rateBytesPerSecond: 1000, burstBytes: 10 });
    await bucket.take(5000, never);
    let isDone = false;
    const next = bucket.take(1, never).then(() => {
      isDone = true;
    });
    await clock.advanceAsync(4900);
    expect(isDone).toBe(false);
    await clock.advanceAsync(200);
    await next;
  });

  it('serves in order and skips one who gave up', async () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket(clock, { rateBytesPerSecond: 1000, burstBytes: 1 });
    const order: string[] = [];
    await bucket.take(100, never);
    const leaver = new AbortController();
    const left = bucket.take(1_000_000, leaver.signal).catch((error) => order.push(error.message));
    const second = bucket.take(100, never).then(() => order.push('second'));
    const third = bucket.take(1, never).then(() => order.push('third'));
    leaver.abort(new Error('left'));
    await clock.advanceAsync(1000);
    await Promise.all([left, second, third]);
    expect(order).toEqual(['left', 'second', 'third']);
    expect(bucket.waiting).toBe(0);
  });

  it('does not save up more than the burst', async () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket(clock, { rateBytesPerSecond: 1000, burstBytes: 100 });
    clock.advance(60_000);
    await bucket.take(200, never);
    let isDone = false;
    const next = bucket.take(1, never).then(() => {
      isDone = true;
    });
    await clock.advanceAsync(50);
    expect(isDone).toBe(false);
    await clock.advanceAsync(60);
    await next;
  });

  it('tells what to take at once so that bytes trickle, and what so long a time gives', () => {
    const bucketOf = (rateBytesPerSecond: number) => new TokenBucket(new FakeClock(), { rateBytesPerSecond });
    expect([0, 10_000, 1_000_000].map((rate) => bucketOf(rate).stepBytes)).toEqual([Infinity, 4_096, 100_000]);
    expect([0, 10_000].map((rate) => bucketOf(rate).bytesIn(500))).toEqual([Infinity, 5_000]);
  });

  it('lets who must not wait take out of turn, and give back what was too much', async () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket(clock, { rateBytesPerSecond: 1000, burstBytes: 100 });
    expect(bucket.isOpen).toBe(true);
    bucket.charge(1_100);
    expect(bucket.isOpen).toBe(false);
    let isDone = false;
    const next = bucket.take(1, never).then(() => {
      isDone = true;
    });
    await clock.advanceAsync(500);
    expect(isDone).toBe(false);
    bucket.charge(-600);
    await next;
    expect([bucket.isOpen, clock.nowMs()]).toEqual([true, 500]);
  });

  it('refuses a signal that is already aborted', async () => {
    const bucket = new TokenBucket(new FakeClock(), { rateBytesPerSecond: 0 });
    await expect(bucket.take(1, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
  });
});
