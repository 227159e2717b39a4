import { describe, expect, it } from 'vitest';
import { Bitfield } from '../../../src/content/bitfield.ts';
import type { PeerId } from '../../../src/content/peer-id.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { isBetter } from '../../../src/swarm/schedule/rendezvous.ts';
import type { Scheduler } from '../../../src/swarm/schedule/scheduler.ts';
import {
  alice,
  bob,
  cancels,
  createTestScheduler,
  digest,
  extentRequests,
  KiB,
  MiB,
  options,
  pieceRequests,
  self,
} from './schedule-fixtures.ts';

function add(
  scheduler: Scheduler,
  sizeBytes: number,
  changes: { originDelayMs?: number; canAskOrigin?: boolean } = {},
) {
  return scheduler.addDownload({ digest, sizeBytes, originDelayMs: 0, canAskOrigin: true, held: [], ...changes });
}

function seed(scheduler: Scheduler, peer: PeerId) {
  scheduler.peerSeen(peer, false);
  scheduler.memberState(digest, peer, { pieces: undefined, isFetching: false, canAskOrigin: false });
}

function fetcher(scheduler: Scheduler, peer: PeerId, pieceCount: number, pieces: number[] = []) {
  scheduler.peerSeen(peer, false);
  const have = new Bitfield(pieceCount);
  for (const piece of pieces) have.add(piece);
  scheduler.memberState(digest, peer, { pieces: have, isFetching: true, canAskOrigin: true });
}

describe('the scheduler of a lone node', () => {
  it('asks the origin for everything, once', () => {
    const { scheduler } = createTestScheduler();
    const { plan } = add(scheduler, 4 * MiB);
    const requests = extentRequests(scheduler.decide());
    const asked = requests.flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at));
    expect(asked.sort((a, b) => a - b)).toEqual(Array.from({ length: plan.pieceCount }, (_, piece) => piece));
    expect(scheduler.decide()).toEqual([]);
  });

  it('waits as long as it is told before it asks the origin, or until it is released', () => {
    const { clock, scheduler } = createTestScheduler();
    add(scheduler, MiB, { originDelayMs: 500 });
    expect(scheduler.decide()).toEqual([]);
    clock.advance(100);
    scheduler.releaseOrigin(digest, 50);
    expect(scheduler.decide()).toEqual([]);
    clock.advance(50);
    expect(extentRequests(scheduler.decide())).not.toEqual([]);
  });

  it('leaves an origin that did not say a word to others for a while, once one of them took over', () => {
    const { clock, scheduler } = createTestScheduler();
    const { plan } = add(scheduler, MiB);
    fetcher(scheduler, alice, plan.pieceCount);
    const begun = extentRequests(scheduler.decide());
    clock.advance(options.takeoverMs);
    const [request] = [...begun, ...extentRequests(scheduler.decide())];
    clock.advance(options.originStallMs);
    scheduler.requestEnded(request!.id, { kind: 'cancelled' });
    clock.advance(10_000);
    expect(extentRequests(scheduler.decide())).toEqual([]);
    clock.advance(10_000);
    expect(extentRequests(scheduler.decide())).toHaveLength(1);
  });

  it('asks a failed origin again after growing pauses, not before the origin said so', () => {
    const { clock, scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024);
    const fail = (retryAfterMs: number | undefined) => {
      for (const { id } of extentRequests(scheduler.decide()))
        scheduler.requestEnded(id, { kind: 'originFailed', isFinal: false, retryAfterMs });
    };
    fail(undefined);
    expect(scheduler.decide()).toEqual([]);
    clock.advance(500);
    fail(9_000);
    clock.advance(8_999);
    expect(scheduler.decide()).toEqual([]);
    clock.advance(1);
    expect(extentRequests(scheduler.decide())).toHaveLength(1);
  });

  it('asks on as soon as an origin that failed answers one request, whatever the others were told to wait', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, 8 * MiB);
    const [probe, ...others] = extentRequests(scheduler.decide());
    expect(others.length).toBeGreaterThan(0);
    for (const { id } of others)
      scheduler.requestEnded(id, { kind: 'originFailed', isFinal: false, retryAfterMs: 5_000 });
    expect(extentRequests(scheduler.decide())).toEqual([]);
    scheduler.requestEnded(probe!.id, { kind: 'done', bytes: MiB });
    expect(extentRequests(scheduler.decide()).length).toBeGreaterThan(0);
  });

  it('does not ask an origin again that said no for good, until the blob is known elsewhere', () => {
    const { clock, scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024);
    const [request] = extentRequests(scheduler.decide());
    scheduler.requestEnded(request!.id, { kind: 'originFailed', isFinal: true, retryAfterMs: undefined });
    clock.advance(60_000);
    expect(scheduler.decide()).toEqual([]);
    expect(scheduler.findBlockage(digest)).toEqual({ missingPieces: 1 });
    scheduler.allowOrigin(digest);
    expect(extentRequests(scheduler.decide())).toHaveLength(1);
  });

  it('stops parts and asks for the whole when the origin ignores Range', () => {
    const { scheduler } = createTestScheduler();
    const { plan } = add(scheduler, 8 * MiB);
    const parts = extentRequests(scheduler.decide()).map(({ id }) => id);
    scheduler.originIsWhole(digest);
    const actions = scheduler.decide();
    expect(cancels(actions)).toEqual(parts);
    expect(extentRequests(actions)).toMatchObject([{ first: 0, count: plan.pieceCount }]);
    scheduler.originIsWhole(digest);
    expect(scheduler.decide().filter(({ kind }) => kind !== 'cancel')).toEqual([]);
    // Their ends come later, and must not free the turn at the whole.
    for (const id of parts) scheduler.requestEnded(id, { kind: 'cancelled' });
    expect(scheduler.decide()).toEqual([]);
  });

  it('cancels the requests of a download that is removed, and starts it anew as if it never was', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, MiB);
    seed(scheduler, alice);
    const before = scheduler.decide();
    const ids = pieceRequests(before).map(({ id }) => id);
    scheduler.removeDownload(digest);
    add(scheduler, MiB);
    const actions = scheduler.decide();
    expect(cancels(actions)).toEqual(ids);
    const [own] = extentRequests(actions);
    for (const id of ids) expect(scheduler.requestEnded(id, { kind: 'cancelled' })).toBeUndefined();
    expect(scheduler.downloads.get(digest)!.extents[0]!.claims.has(self)).toBe(own !== undefined);
    expect(scheduler.peers.get(alice)!.inFlightBytes).toBe(0);
  });

  it('knows nothing of downloads it was not given', () => {
    const { scheduler } = createTestScheduler();
    const other = `sha256:${'cd'.repeat(32)}` as Digest;
    scheduler.releaseOrigin(other, 0);
    scheduler.memberState(other, alice, { pieces: undefined, isFetching: false, canAskOrigin: false });
    scheduler.memberHas(other, alice, [0]);
    scheduler.memberLeft(other, alice);
    scheduler.memberClaims(other, alice, 0, 0);
    scheduler.memberReleases(other, alice, 0);
    scheduler.originIsWhole(other);
    scheduler.allowOrigin(other);
    scheduler.readerAt(other, 1, 0);
    scheduler.requestProgress(99, 1);
    scheduler.distrust(other, [0], []);
    scheduler.relyOnSelf(other);
    scheduler.pieceRefused(other, 0, alice);
    expect(scheduler.pieceStored(other, 0, 1)).toBe(false);
    expect(scheduler.requestEnded(99, { kind: 'failed' })).toBeUndefined();
    expect(scheduler.findBlockage(other)).toBeUndefined();
    expect(scheduler.decide()).toEqual([]);
  });
});

describe('the scheduler among peers', () => {
  it('takes from a seed and leaves the origin alone', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, MiB);
    seed(scheduler, alice);
    const actions = scheduler.decide();
    expect(extentRequests(actions)).toEqual([]);
    expect(pieceRequests(actions).every(({ peer }) => peer === alice)).toBe(true);
  });

  it('keeps requests and bytes in flight within bounds', () => {
    const { scheduler } = createTestScheduler({ maxRequests: 3, maxInFlightBytes: 2 * MiB });
    add(scheduler, 32 * MiB);
    for (const peer of [alice, bob, 'p3', 'p4'] as PeerId[]) seed(scheduler, peer);
    const requests = pieceRequests(scheduler.decide());
    expect(requests.length).toBeLessThanOrEqual(3);
    let bytes = 0;
    for (const state of scheduler.peers.values()) bytes += state.inFlightBytes;
    expect(bytes).toBeLessThanOrEqual(2.5 * MiB);
  });

  it('stops an own request to the origin when a better-ranked member claims the same', () => {
    const { scheduler } = createTestScheduler();
    const { plan } = add(scheduler, 64 * 1024);
    const [own] = extentRequests(scheduler.decide());
    for (const peer of Array.from({ length: 12 }, (_, at) => `p${at}` as PeerId)) {
      fetcher(scheduler, peer, plan.pieceCount);
      scheduler.memberClaims(digest, peer, 0, 0);
    }
    expect(cancels(scheduler.decide())).toEqual([own!.id]);
  });

  it('stops an own request that stands still when anybody else claims the same', () => {
    const { clock, scheduler } = createTestScheduler();
    const { plan } = add(scheduler, 64 * 1024);
    const [own] = extentRequests(scheduler.decide());
    clock.advance(options.originStallMs + 1);
    for (const peer of [alice, bob]) fetcher(scheduler, peer, plan.pieceCount);
    scheduler.memberClaims(digest, alice, 0, 0);
    expect(cancels(scheduler.decide())).toEqual([own!.id]);
  });

  it('takes no piece from the origin that a member has meanwhile', () => {
    const { scheduler } = createTestScheduler();
    const { plan } = add(scheduler, 64 * 1024);
    const [own] = extentRequests(scheduler.decide());
    fetcher(scheduler, alice, plan.pieceCount);
    scheduler.memberHas(digest, alice, [0]);
    expect(cancels(scheduler.decide())).toEqual([own!.id]);
  });

  it('comes back to a busy peer after about the time it named', () => {
    const { clock, scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024, { canAskOrigin: false });
    seed(scheduler, alice);
    const [request] = pieceRequests(scheduler.decide());
    expect(scheduler.requestEnded(request!.id, { kind: 'busy', retryAfterMs: 100 })).toBeUndefined();
    expect(scheduler.decide()).toEqual([]);
    clock.advance(150);
    expect(pieceRequests(scheduler.decide())).toHaveLength(1);
  });

  it('doubts a peer whose request failed, longer each time', () => {
    const { clock, scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024, { canAskOrigin: false });
    const pauses: number[] = [];
    for (let time = 0; time < 3; time += 1) {
      seed(scheduler, alice);
      const [request] = pieceRequests(scheduler.decide());
      const doubt = scheduler.requestEnded(request!.id, { kind: 'failed' });
      expect(doubt).toMatchObject({ peer: alice });
      pauses.push(doubt!.pauseMs);
      clock.advance(doubt!.pauseMs);
    }
    expect(pauses[2]).toBeGreaterThan(pauses[0]!);
  });

  it.each(['failed', 'absent'] as const)(
    'asks the origin for what a peer says that it holds when its requests were %s twice',
    (kind) => {
      const { clock, scheduler } = createTestScheduler();
      add(scheduler, 64 * 1024);
      for (let time = 0; time < 2; time += 1) {
        seed(scheduler, alice);
        const [request] = pieceRequests(scheduler.decide());
        scheduler.requestEnded(request!.id, { kind });
        const [own] = extentRequests(scheduler.decide());
        scheduler.requestEnded(own!.id, { kind: 'cancelled' });
        clock.advance(60_000);
      }
      seed(scheduler, alice);
      const [own] = extentRequests(scheduler.decide());
      expect(own).toBeDefined();
      // Nor does it stop, whatever is said meanwhile.
      seed(scheduler, alice);
      expect(cancels(scheduler.decide())).toEqual([]);
    },
  );

  it('believes a peer again once bytes of a piece come from it', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024, { canAskOrigin: false });
    const state = () => scheduler.peers.get(alice)!;
    seed(scheduler, alice);
    Object.assign(state(), { unserved: 2, muteSinceMs: 0 });
    seed(scheduler, alice);
    const [request] = pieceRequests(scheduler.decide());
    scheduler.requestEnded(request!.id, { kind: 'done', bytes: 64 * 1024 });
    expect(state()).toMatchObject({ unserved: 0, muteSinceMs: undefined });
  });

  it('stops its own turn for what is news of a member, and not for the same once more, nor for who is none', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, MiB);
    const others = Array.from({ length: 32 }, (_, at) => `other-${at}` as PeerId);
    const better = others.find((other) => isBetter(other, self, digest, 0))!;
    expect(extentRequests(scheduler.decide())).toHaveLength(1);
    scheduler.memberClaims(digest, better, 0, 0);
    expect(cancels(scheduler.decide())).toEqual([]);
    fetcher(scheduler, better, 2);
    scheduler.memberClaims(digest, better, 0, 0);
    const [stopped] = cancels(scheduler.decide());
    expect(stopped).toBeDefined();
    scheduler.memberClaims(digest, better, 0, 0);
    expect(cancels(scheduler.decide())).toEqual([]);
  });

  it('forgets the oldest of very many banned peers', () => {
    const { scheduler } = createTestScheduler();
    for (let at = 0; at < 1_030; at += 1) scheduler.ban(`banned-${at}` as PeerId);
    scheduler.peerSeen(alice, false);
    expect(scheduler.peers.size).toBe(1_025);
    expect(scheduler.peers.has('banned-5' as PeerId)).toBe(false);
    expect(scheduler.peers.get('banned-6' as PeerId)!.isBanned).toBe(true);
  });

  it('does not believe that the origin ignores Range when it got a part of the blob there', () => {
    const { scheduler } = createTestScheduler();
    const download = add(scheduler, 8 * MiB);
    const [request] = extentRequests(scheduler.decide());
    download.originBytesPerSecond = MiB;
    scheduler.memberSaysWhole(digest);
    expect(download.isOriginWhole).toBe(false);
    download.originBytesPerSecond = undefined;
    scheduler.memberSaysWhole(digest);
    expect(download.isOriginWhole).toBe(true);
    expect(cancels(scheduler.decide())).toContain(request!.id);
  });

  it('takes a peer that does not have the pieces at its word', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024);
    seed(scheduler, alice);
    const [request] = pieceRequests(scheduler.decide());
    expect(scheduler.requestEnded(request!.id, { kind: 'absent' })).toBeUndefined();
    expect(extentRequests(scheduler.decide())).toHaveLength(1);
  });

  it('gives up a request that stands still, and counts it against the peer', () => {
    const { clock, scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024, { canAskOrigin: false });
    seed(scheduler, alice);
    const [request] = pieceRequests(scheduler.decide());
    clock.advance(2 * options.peerStallMs);
    expect(scheduler.decide()).toEqual([]);
    clock.advance(1);
    expect(cancels(scheduler.decide())).toEqual([request!.id]);
    expect(scheduler.requestEnded(request!.id, { kind: 'cancelled' })).toMatchObject({ peer: alice });
  });

  /** What is cancelled in 11 s in which each peer sends so many bytes per second to each request. */
  const cancelledWhile = (bytesPerSecond: ReadonlyMap<PeerId, number>) => {
    const { clock, scheduler } = createTestScheduler();
    add(scheduler, 64 * MiB, { canAskOrigin: false });
    for (const peer of bytesPerSecond.keys()) seed(scheduler, peer);
    const requests = pieceRequests(scheduler.decide());
    let cancelled: number[] = [];
    for (let second = 1; second <= 11; second += 1) {
      for (const { id, peer } of requests) scheduler.requestProgress(id, second * (bytesPerSecond.get(peer) ?? 0));
      clock.advance(1_000);
      cancelled = cancels(scheduler.decide());
    }
    return requests.filter(({ id }) => cancelled.includes(id)).map(({ peer }) => peer);
  };

  it('gives up a request that drips', () => {
    expect(
      new Set(
        cancelledWhile(
          new Map([
            [alice, 200 * KiB],
            [bob, 10_000],
          ]),
        ),
      ),
    ).toEqual(new Set([bob]));
    expect(new Set(cancelledWhile(new Map([[alice, 200]])))).toEqual(new Set([alice]));
  });

  it('bears with requests that drip where all together bring no more', () => {
    expect(
      cancelledWhile(
        new Map([
          [alice, 2_000],
          [bob, 500],
        ]),
      ),
    ).toEqual([]);
  });

  it('bears with a slow peer', () => {
    const { clock, scheduler } = createTestScheduler();
    add(scheduler, MiB, { canAskOrigin: false });
    seed(scheduler, alice);
    scheduler.decide();
    let received = 0;
    for (let second = 0; second < 30; second += 1) {
      received += 32 * 1024;
      for (const { id } of [...scheduler.requests.values()]) scheduler.requestProgress(id, received);
      clock.advance(1_000);
      expect(cancels(scheduler.decide())).toEqual([]);
    }
  });

  it('hedges a stalled request with another holder and cancels whichever is not needed any more', () => {
    const { clock, scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024, { canAskOrigin: false });
    seed(scheduler, alice);
    const [first] = pieceRequests(scheduler.decide());
    seed(scheduler, bob);
    clock.advance(options.peerStallMs + 1);
    const hedges = scheduler.decide();
    expect(hedges).toMatchObject([{ kind: 'fetchPieces', isHedge: true, request: { peer: bob } }]);
    const [second] = pieceRequests(hedges);
    expect(scheduler.pieceStored(digest, 0, second!.id)).toBe(true);
    expect(scheduler.pieceStored(digest, 0, first!.id)).toBe(false);
    expect(cancels(scheduler.decide())).toEqual([first!.id]);
  });

  it('keeps a member that passes on pieces of a doubted signer in its place, but for one that does nothing else', () => {
    const { scheduler } = createTestScheduler();
    const { plan, members, extents } = add(scheduler, 64 * MiB, { canAskOrigin: false });
    fetcher(scheduler, alice, plan.pieceCount);
    scheduler.memberClaims(digest, alice, 5, 1);
    const doubt = (piece: number) => {
      scheduler.memberHas(digest, alice, [piece]);
      const [request] = pieceRequests(scheduler.decide());
      scheduler.pieceRefused(digest, piece, alice);
      return scheduler.requestEnded(request!.id, { kind: 'doubted', bytes: 1 });
    };
    for (let piece = 0; piece < 8; piece += 1) expect(doubt(piece)).toBeUndefined();
    expect([members.has(alice), extents[5]?.claims.has(alice)]).toEqual([true, true]);
    expect(doubt(8)).toMatchObject({ peer: alice });
    expect([members.has(alice), extents[5]?.claims.has(alice)]).toEqual([false, false]);
  });

  it('does not wait for a member that says again that it holds what it sent in a doubted version, and sends that again', () => {
    const { scheduler } = createTestScheduler();
    const { plan, members } = add(scheduler, 64 * MiB, { canAskOrigin: false });
    fetcher(scheduler, alice, plan.pieceCount);
    const end = (piece: number, kind: 'doubted' | 'done') => {
      scheduler.memberHas(digest, alice, [piece]);
      const [request] = pieceRequests(scheduler.decide());
      if (kind === 'doubted') scheduler.pieceRefused(digest, piece, alice);
      else scheduler.pieceStored(digest, piece, request!.id);
      return scheduler.requestEnded(request!.id, { kind, bytes: 1 });
    };
    expect([end(3, 'doubted'), end(4, 'done'), members.has(alice)]).toEqual([undefined, undefined, true]);
    expect(end(3, 'doubted')).toMatchObject({ peer: alice });
    expect(members.has(alice)).toBe(false);
  });

  it('counts doubted answers in a row', () => {
    const { scheduler } = createTestScheduler();
    const { members } = add(scheduler, 64 * MiB, { canAskOrigin: false });
    seed(scheduler, alice);
    const end = (kind: 'doubted' | 'done') => {
      const [request] = pieceRequests(scheduler.decide());
      scheduler.requestEnded(request!.id, { kind, bytes: 1 });
    };
    for (let time = 0; time < 20; time += 1) end(time % 8 === 7 ? 'done' : 'doubted');
    expect(members.has(alice)).toBe(true);
  });

  it('cancels what it asked of a peer that is gone, and does not mistake its end for that of a later life', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, MiB, { canAskOrigin: false });
    seed(scheduler, alice);
    const ids = pieceRequests(scheduler.decide()).map(({ id }) => id);
    scheduler.peerGone(alice);
    expect(cancels(scheduler.decide())).toEqual(ids);
    seed(scheduler, alice);
    for (const id of ids) expect(scheduler.requestEnded(id, { kind: 'failed' })).toBeUndefined();
    expect(scheduler.peers.get(alice)).toMatchObject({ failures: 0, inFlightBytes: 0 });
  });

  it('believes nothing of a banned peer, and again what it says once the ban is over', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, MiB, { canAskOrigin: false });
    seed(scheduler, alice);
    scheduler.ban(alice);
    scheduler.memberState(digest, alice, { pieces: undefined, isFetching: false, canAskOrigin: false });
    scheduler.memberHas(digest, alice, [0]);
    expect(pieceRequests(scheduler.decide())).toEqual([]);
    seed(scheduler, alice);
    expect(pieceRequests(scheduler.decide())).not.toEqual([]);
  });

  it('fetches dropped pieces again, from members only once they say anew that they hold them', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024, { canAskOrigin: false });
    seed(scheduler, alice);
    const [request] = pieceRequests(scheduler.decide());
    scheduler.pieceStored(digest, 0, request!.id);
    scheduler.requestEnded(request!.id, { kind: 'done', bytes: 64 * 1024 });
    scheduler.distrust(digest, [0], []);
    expect(scheduler.decide()).toEqual([]);
    seed(scheduler, alice);
    expect(pieceRequests(scheduler.decide())).toHaveLength(1);
  });

  it('reads everything from the origin when it relies on itself, whatever members say', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024);
    seed(scheduler, alice);
    scheduler.relyOnSelf(digest);
    seed(scheduler, alice);
    scheduler.memberHas(digest, alice, [0]);
    scheduler.memberClaims(digest, alice, 0, 0);
    const actions = scheduler.decide();
    expect([pieceRequests(actions), extentRequests(actions)]).toMatchObject([[], [{ first: 0 }]]);
  });

  it('begins as many turns as the window holds when it relies on itself, however many are passed by', () => {
    const { clock, scheduler } = createTestScheduler();
    const { plan, members } = add(scheduler, 32 * MiB);
    for (const peer of [alice, bob]) fetcher(scheduler, peer, plan.pieceCount);
    for (const member of members.values()) member.lateUntilMs = clock.nowMs() + 1_000;
    scheduler.relyOnSelf(digest);
    let bytes = 0;
    for (const { count } of extentRequests(scheduler.decide())) bytes += count * plan.pieceBytes;
    expect(bytes).toBeGreaterThanOrEqual(options.originWindowExtents * MiB);
  });

  it('takes a piece that a peer sent wrong from another', () => {
    const { scheduler } = createTestScheduler();
    add(scheduler, 64 * 1024, { canAskOrigin: false });
    seed(scheduler, alice);
    const [request] = pieceRequests(scheduler.decide());
    scheduler.pieceRefused(digest, 0, alice);
    scheduler.requestEnded(request!.id, { kind: 'failed' });
    seed(scheduler, bob);
    expect(pieceRequests(scheduler.decide())).toMatchObject([{ peer: bob }]);
  });

  it('learns the rates of peers from what they sent', () => {
    const { clock, scheduler } = createTestScheduler();
    add(scheduler, MiB, { canAskOrigin: false });
    seed(scheduler, alice);
    const [request] = pieceRequests(scheduler.decide());
    clock.advance(1_000);
    scheduler.requestEnded(request!.id, { kind: 'done', bytes: 512 * 1024 });
    expect(scheduler.peers.get(alice)!.rateBytesPerSecond).toBe(512 * 1024);
  });
});
