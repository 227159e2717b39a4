import { describe, expect, it } from 'vitest';
import { planPieces } from '../../../src/content/piece-plan.ts';
import { TokenBucket } from '../../../src/lib/token-bucket.ts';
import { DownloadPace } from '../../../src/swarm/download-pace.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { KiB, MiB } from '../../support/swarm-blobs.ts';

const plan = planPieces(8 * MiB);
const { signal } = new AbortController();

function setUp(rateBytesPerSecond: number) {
  const clock = new FakeClock();
  const bucket = new TokenBucket(clock, { rateBytesPerSecond });
  const turns: number[] = [];
  const pace = new DownloadPace(bucket, signal, () => turns.push(clock.nowMs()));
  return { clock, bucket, turns, pace };
}

describe('the pace of what comes from peers', () => {
  it('admits everything whole without a limit', () => {
    const { pace, turns } = setUp(0);
    for (let at = 0; at < 100; at += 1) {
      expect(pace.admits()).toBe(true);
      pace.charge(plan, 5, 8);
    }
    expect([pace.countFor(plan, 5, 8), turns]).toEqual([8, []]);
  });

  it('admits the next request when the one before is paid for, and says when', async () => {
    const { clock, pace, turns } = setUp(512 * KiB);
    expect(pace.admits()).toBe(true);
    pace.charge(plan, 5, 1);
    expect([pace.admits(), pace.admits()]).toEqual([false, false]);
    await clock.advanceAsync(890);
    expect([pace.admits(), turns]).toEqual([false, []]);
    await clock.advanceAsync(20);
    expect(turns).toHaveLength(1);
    expect(pace.admits()).toBe(true);
    pace.charge(plan, 6, 1);
    expect(pace.admits()).toBe(false);
  });

  it('has its turn beside those who take at the origin without a pause', async () => {
    const { clock, bucket, pace, turns } = setUp(512 * KiB);
    const taking = new AbortController();
    const take = async () => {
      for (;;) await bucket.take(64 * KiB, taking.signal);
    };
    const takers = [take(), take()].map((taken) => taken.catch(() => {}));
    await clock.advanceAsync(1_000);
    expect(pace.admits()).toBe(false);
    await clock.advanceAsync(400);
    expect(turns).toHaveLength(1);
    expect(pace.admits()).toBe(true);
    taking.abort(new Error('enough'));
    await Promise.all(takers);
  });

  it('takes back what did not come', () => {
    const { pace } = setUp(512 * KiB);
    const settle = pace.charge(plan, 5, 2);
    expect(pace.admits()).toBe(false);
    settle(40 * KiB);
    expect(pace.admits()).toBe(true);
  });

  it('asks for no more pieces at once than a second brings, and for one however long it takes', () => {
    expect([64 * KiB, 512 * KiB, 2 * MiB].map((rate) => setUp(rate).pace.countFor(plan, 5, 8))).toEqual([1, 1, 4]);
  });
});
