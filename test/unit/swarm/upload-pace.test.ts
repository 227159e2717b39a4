import { describe, expect, it } from 'vitest';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { TokenBucket } from '../../../src/lib/token-bucket.ts';
import { type PacedRun, UploadPace } from '../../../src/swarm/upload-pace.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { KiB } from '../../support/swarm-blobs.ts';

const [alice, bob, carol] = ['alice', 'bob', 'carol'] as PeerId[] as [PeerId, PeerId, PeerId];
const { signal } = new AbortController();
const pieceBytes = 512 * KiB;

/** At 64 KiB/s a piece takes eight seconds. */
function setUp(rateBytesPerSecond = 64 * KiB) {
  const clock = new FakeClock();
  const pace = new UploadPace({ clock, bucket: new TokenBucket(clock, { rateBytesPerSecond }) });
  const admit = (peer: PeerId): PacedRun => {
    const run = pace.admit(peer, pieceBytes);
    if (typeof run === 'number') throw new Error(`told to wait for ${run} ms`);
    return run;
  };
  const refusal = (peer: PeerId): number => {
    const retryAfterMs = pace.admit(peer, pieceBytes);
    if (typeof retryAfterMs !== 'number') throw new Error('admitted');
    return retryAfterMs;
  };
  return { clock, pace, admit, refusal };
}

/** Sends as the bulk plane does, and notes when each step could go. */
async function send(run: PacedRun, clock: FakeClock, sentMs: number[] = []): Promise<number[]> {
  await run.begin(signal);
  for (let at = 0; at < pieceBytes; at += run.stepBytes) {
    await run.pass(Math.min(run.stepBytes, pieceBytes - at), signal);
    sentMs.push(clock.nowMs());
  }
  run.end();
  return sentMs;
}

describe('the pace of what a node gives', () => {
  it('lets everybody in without a limit', async () => {
    const { clock, admit } = setUp(0);
    const runs = [alice, bob, carol, alice].map((peer) => admit(peer));
    expect(await Promise.all(runs.map((run) => send(run, clock)))).toEqual([[0], [0], [0], [0]]);
  });

  it('gives bytes at once and a few at a time, and holds the rate', async () => {
    const { clock, admit } = setUp();
    const sentMs: number[] = [];
    const sending = send(admit(alice), clock, sentMs);
    await clock.advanceAsync(9_000);
    await sending;
    expect(sentMs[0]).toBe(0);
    expect(sentMs.at(-1)).toBeGreaterThan(7_700);
    expect(sentMs.every((atMs, step) => atMs - (sentMs[step - 1] ?? 0) < 200)).toBe(true);
  });

  it('tells the others when to come back, and serves them in the order in which they came', async () => {
    const { clock, admit, refusal } = setUp();
    const sending = send(admit(alice), clock);
    const bobs = refusal(bob);
    expect(bobs * 1.5).toBeCloseTo(7_000, -2);
    expect(refusal(carol) * 1.5).toBeCloseTo(15_000, -2);
    // Whoever is served asks for more like all others.
    expect(refusal(alice) * 1.5).toBeCloseTo(23_000, -2);
    await clock.advanceAsync(bobs * 1.5 + 100);
    expect(refusal(carol)).toBeGreaterThan(5_000);
    const next = send(admit(bob), clock);
    await clock.advanceAsync(2_000);
    await sending;
    await clock.advanceAsync(6_000);
    const last = send(admit(carol), clock);
    await clock.advanceAsync(9_000);
    await Promise.all([next, last]);
  });

  it('does not wait for who does not come back', async () => {
    const { clock, admit, refusal } = setUp();
    const sending = send(admit(alice), clock);
    refusal(bob);
    refusal(carol);
    await clock.advanceAsync(9_000);
    await sending;
    admit(carol);
  });

  it('lets the next in when a run ends early', async () => {
    const { clock, admit, refusal } = setUp();
    const run = admit(alice);
    await run.begin(signal);
    refusal(bob);
    run.end();
    const next = admit(bob);
    // Paid for and not sent by the one before.
    await next.begin(signal);
    expect(clock.nowMs()).toBe(0);
  });

  it('lets others in beside a peer that takes far more slowly than it could be sent to', async () => {
    const { clock, admit, refusal } = setUp();
    const slow = admit(alice);
    await slow.begin(signal);
    await slow.pass(slow.stepBytes, signal);
    refusal(bob);
    await clock.advanceAsync(500);
    const beside = send(admit(bob), clock);
    await clock.advanceAsync(9_000);
    await beside;
    slow.end();
  });

  it('tells nobody to wait for longer than the wire allows', () => {
    const { admit, refusal } = setUp(1_000);
    admit(alice);
    expect([refusal(bob), refusal(carol)]).toEqual([60_000, 60_000]);
  });
});
