import { describe, expect, it } from 'vitest';
import { Bitfield } from '../../../src/content/bitfield.ts';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { seededRandom } from '../../../src/lib/clock.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { pickHedges } from '../../../src/swarm/schedule/hedges.ts';
import { pickPieces } from '../../../src/swarm/schedule/piece-picker.ts';
import type { Scheduler } from '../../../src/swarm/schedule/scheduler.ts';
import { setMute } from '../../../src/swarm/schedule/state.ts';
import { rankOf, turnOrder } from '../../../src/swarm/schedule/turn-order.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import {
  alice,
  bob,
  cancels,
  createTestScheduler,
  digest,
  downloadOf,
  extentRequests,
  join,
  KiB,
  MiB,
  options,
  peerStates,
  pieceRequests,
  self,
} from './schedule-fixtures.ts';

/** So many requests that it is known how long they take. */
function learnDurations(scheduler: Scheduler, clock: FakeClock, eachMs: number) {
  const other = `sha256:${'cd'.repeat(32)}` as Digest;
  scheduler.addDownload({ digest: other, sizeBytes: 8 * MiB, originDelayMs: 0, canAskOrigin: false, held: [] });
  scheduler.peerSeen(bob, false);
  scheduler.memberState(other, bob, { pieces: undefined, isFetching: false, canAskOrigin: false });
  for (let done = 0; done < 8; done += 1) {
    const [request, ...rest] = pieceRequests(scheduler.decide());
    for (const { id } of rest) scheduler.requestEnded(id, { kind: 'cancelled' });
    clock.advance(eachMs);
    scheduler.pieceStored(other, request!.first, request!.id);
    scheduler.requestEnded(request!.id, { kind: 'done', bytes: 512 * KiB });
  }
  scheduler.removeDownload(other);
  scheduler.peerGone(bob);
}

/** A download of one extent of which alice holds all and still says that it fetches, as a member that has just got it. */
function askAlice(pieces = [0, 1], { canAskOrigin = true, usualMs = 10 as number | null } = {}) {
  const { clock, scheduler } = createTestScheduler();
  if (usualMs !== null) learnDurations(scheduler, clock, usualMs);
  const download = scheduler.addDownload({ digest, sizeBytes: MiB, originDelayMs: 0, canAskOrigin, held: [] });
  sayHave(scheduler, alice, pieces);
  const [request] = pieceRequests(scheduler.decide());
  return { clock, scheduler, download, request: request! };
}

function sayHave(scheduler: Scheduler, peer: PeerId, pieces: readonly number[]) {
  scheduler.peerSeen(peer, false);
  const have = new Bitfield(2);
  for (const piece of pieces) have.add(piece);
  scheduler.memberState(digest, peer, { pieces: have, isFetching: true, canAskOrigin: true });
}

describe('a peer that sends nothing', () => {
  it('counts as holding nothing once it has stood still, so that the origin is asked', () => {
    const { clock, scheduler, request } = askAlice();
    clock.advance(options.peerStallMs);
    expect(extentRequests(scheduler.decide())).toEqual([]);
    expect(request.stoodStill).toBe(false);
    clock.advance(1);
    expect(extentRequests(scheduler.decide())).toMatchObject([{ first: 0, count: 2 }]);
    expect(request.stoodStill).toBe(true);
  });

  it.each([
    ['it is not known how long requests take', { usualMs: null }, 2 * options.peerStallMs],
    ['requests take long', { usualMs: 800 }, 3 * 800],
    ['requests take longer than one that stands still may', { usualMs: 9_000 }, 2 * options.peerStallMs],
  ])('is waited for longer while %s', (_, changes, patienceMs) => {
    const { clock, scheduler, download } = askAlice([0], changes);
    clock.advance(patienceMs);
    scheduler.decide();
    expect(download.unheld).toBe(1);
    clock.advance(1);
    scheduler.decide();
    expect(download.unheld).toBe(2);
  });

  it('is waited for no longer where the origin alone is slow', () => {
    const { clock, scheduler, download } = askAlice([0]);
    download.ownTurnBytesPerSecond = 64 * KiB;
    clock.advance(options.peerStallMs + 1);
    scheduler.decide();
    expect(download.unheld).toBe(2);
  });

  it('counts again with its first byte, for what it says later too', () => {
    const { clock, scheduler, download, request } = askAlice([0]);
    clock.advance(options.peerStallMs + 1);
    scheduler.decide();
    sayHave(scheduler, alice, [0, 1]);
    expect(download.unheld).toBe(2);
    scheduler.requestProgress(request.id, 1);
    expect([download.unheld, scheduler.peers.get(alice)!.muteSinceMs]).toEqual([0, undefined]);
  });

  it('counts again once it was not asked for a minute', () => {
    const { clock, scheduler, download, request } = askAlice([0], { canAskOrigin: false });
    clock.advance(options.peerStallMs + 1);
    scheduler.decide();
    const unheldAfter = (ms: number) => {
      clock.advance(ms);
      scheduler.decide();
      return download.unheld;
    };
    expect(unheldAfter(0)).toBe(2);
    // Busy for longer than that, it is not asked.
    scheduler.requestEnded(request.id, { kind: 'busy', retryAfterMs: 1_000_000 });
    expect([unheldAfter(60_000), unheldAfter(1)]).toEqual([2, 1]);
  });

  it('is none while other requests to it bring bytes', () => {
    const { clock, scheduler, download } = askAlice([0]);
    sayHave(scheduler, alice, [0, 1]);
    const [second] = pieceRequests(scheduler.decide());
    clock.advance(options.peerStallMs);
    scheduler.requestProgress(second!.id, 1);
    clock.advance(options.peerStallMs);
    scheduler.decide();
    expect(download.unheld).toBe(0);
  });

  it('has no turns at the origin, nobody waits for its claims, and nobody makes way for it', () => {
    const { clock, scheduler, download } = askAlice([0]);
    scheduler.memberClaims(digest, alice, 0, 0);
    clock.advance(options.peerStallMs + 1);
    const [turn] = extentRequests(scheduler.decide());
    expect(turn).toMatchObject({ first: 0, count: 2 });
    expect(rankOf(self, turnOrder(self, download), download, 0, clock.nowMs())).toBe(0);
    clock.advance(options.originStallMs + 1);
    scheduler.memberClaims(digest, alice, 0, 10);
    expect([...download.extents[0]!.claims.keys()]).toEqual([self]);
    expect(cancels(scheduler.decide())).not.toContain(turn!.id);
  });

  it('stays so after it was lost and came back with the same words', () => {
    const { clock, scheduler, download, request } = askAlice();
    clock.advance(2 * options.peerStallMs + 1);
    expect(cancels(scheduler.decide())).toEqual([request.id]);
    scheduler.requestEnded(request.id, { kind: 'cancelled' });
    expect(download.members.size).toBe(0);
    sayHave(scheduler, alice, [0, 1]);
    expect([download.unheld, download.supplied.size]).toEqual([2, 2]);
  });

  it('gets half the time when it answers the next request as if the pieces followed', () => {
    const { clock, scheduler, request } = askAlice([0, 1], { canAskOrigin: false });
    const givenUpAfterMs = (id: number) => {
      scheduler.requestPromised(id);
      const startedMs = clock.nowMs();
      while (!cancels(scheduler.decide()).includes(id)) clock.advance(1);
      scheduler.requestEnded(id, { kind: 'cancelled' });
      return clock.nowMs() - startedMs;
    };
    expect(givenUpAfterMs(request.id)).toBe(2 * options.peerStallMs + 1);
    sayHave(scheduler, alice, [0, 1]);
    clock.advance(2_000);
    const [next] = pieceRequests(scheduler.decide());
    expect(givenUpAfterMs(next!.id)).toBe(options.peerStallMs + 1);
  });
});

describe('the picker', () => {
  const pick = (download: ReturnType<typeof downloadOf>, requests = 4) => {
    const budget = { requests, bytes: 16 * MiB };
    return pickPieces(self, [download], peerStates(alice, bob), budget, 0, seededRandom(3), options);
  };

  it('asks a mute member last, and for one thing at a time', () => {
    const download = downloadOf(MiB);
    join(download, alice, [0, 1]);
    setMute(download, download.members.get(alice)!, true);
    expect(pick(download)).toMatchObject([{ peer: alice }]);
    join(download, bob, [0, 1]);
    expect(pick(download, 1)).toMatchObject([{ peer: bob }]);
  });
});

describe('hedges', () => {
  const scene = (muteSinceMs: number | undefined) => {
    const { clock, scheduler, download, request } = askAlice();
    const peers = peerStates({ peer: alice, muteSinceMs, requests: new Set([request]) }, bob);
    const hedge = (nowMs: number) =>
      pickHedges(
        { downloads: new Map([[digest, download]]), requests: [request], peers },
        { usualMs: () => 10_000, budget: 1, nowMs, random: seededRandom(1) },
        options,
      ).map(({ pick }) => pick.peer);
    join(download, bob, [0, 1]);
    return { clock, scheduler, download, request, hedge };
  };

  it('ask another holder of what was asked of a mute peer, with the next decision', () => {
    const { hedge, request } = scene(0);
    const { startedMs } = request;
    expect([hedge(startedMs), hedge(startedMs + 1)]).toEqual([[], [bob]]);
    expect(scene(undefined).hedge(startedMs + 1)).toEqual([]);
  });

  it('do not ask another mute peer', () => {
    const { hedge, download, request } = scene(0);
    setMute(download, download.members.get(bob)!, true);
    expect(hedge(request.startedMs + 1)).toEqual([]);
  });

  it('are made once more when the one asked was busy', () => {
    const { clock, scheduler, request } = askAlice();
    sayHave(scheduler, bob, [0, 1]);
    const hedged = () => pieceRequests(scheduler.decide()).filter(({ first }) => first === request.first);
    clock.advance(options.peerStallMs + 1);
    const [hedge] = hedged();
    expect(hedge).toMatchObject({ peer: bob });
    scheduler.requestEnded(hedge!.id, { kind: 'busy', retryAfterMs: 10 });
    clock.advance(20);
    expect(hedged()).toMatchObject([{ peer: bob }]);
  });
});
