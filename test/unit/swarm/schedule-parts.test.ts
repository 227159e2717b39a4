import { describe, expect, it } from 'vitest';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { extentPieceRange, planPieces } from '../../../src/content/piece-plan.ts';
import { seededRandom } from '../../../src/lib/clock.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { findBlockage } from '../../../src/swarm/schedule/blockage.ts';
import { removeFlight } from '../../../src/swarm/schedule/flights.ts';
import { pickAwaited, pickHedges } from '../../../src/swarm/schedule/hedges.ts';
import { Lag } from '../../../src/swarm/schedule/lag.ts';
import {
  applyClaim,
  applyDistrust,
  applyMemberHas,
  applyRelease,
  applySuspicion,
  excuseMembers,
  forgetHave,
  passOver,
} from '../../../src/swarm/schedule/member-events.ts';
import { originTurns } from '../../../src/swarm/schedule/origin-turns.ts';
import { pickPieces } from '../../../src/swarm/schedule/piece-picker.ts';
import { isBetter } from '../../../src/swarm/schedule/rendezvous.ts';
import { RequestDurations } from '../../../src/swarm/schedule/request-durations.ts';
import {
  createPeerState,
  type DownloadState,
  dropMember,
  isAllHeld,
  isHeldByMembers,
  markHeld,
  markMemberHas,
  type RequestState,
  unmarkHeld,
} from '../../../src/swarm/schedule/state.ts';
import { ownerOf, rankOf, turnOrder } from '../../../src/swarm/schedule/turn-order.ts';
import {
  alice,
  bob,
  carol,
  createTestScheduler,
  digest,
  downloadOf,
  join,
  KiB,
  MiB,
  options,
  peerStates,
  self,
} from './schedule-fixtures.ts';

const random = seededRandom(3);
const budget = { requests: 8, bytes: 16 * MiB };

function requestOf(changes: Partial<RequestState> = {}): RequestState {
  return {
    id: 1,
    digest,
    peer: alice,
    first: 0,
    count: 1,
    startedMs: 0,
    progressMs: 0,
    receivedBytes: 0,
    isHedged: false,
    isRace: false,
    promisedMs: undefined,
    stoodStill: false,
    isStalled: false,
    ...changes,
  };
}

function fly(download: DownloadState, request: RequestState): RequestState {
  for (let piece = request.first; piece < request.first + request.count; piece += 1) {
    const flights = download.flights.get(piece) ?? new Set();
    download.flights.set(piece, flights.add(request));
  }
  return request;
}

const ownerAt = (download: DownloadState, extent: number, peers: PeerId[], nowMs = 0) =>
  // Who waits for nobody and is not in its pause.
  peers.find(
    (peer) =>
      rankOf(peer, turnOrder(self, download), download, extent, nowMs) === 0 &&
      Math.max(
        download.members.get(peer)?.passedOverUntilMs ?? 0,
        download.members.get(peer)?.restsUntilMs ?? 0,
        download.members.get(peer)?.lateUntilMs ?? 0,
      ) <= nowMs,
  );

/** The first extent that is the peer's. */
const turnOf = (download: DownloadState, peer: PeerId) =>
  download.extents.findIndex((_, extent) => ownerOf(turnOrder(self, download), download, extent) === peer);

describe('rendezvous weights', () => {
  it('order any two peers the same from both sides, and never a peer before itself', () => {
    for (let extent = 0; extent < 50; extent += 1) {
      expect(isBetter(alice, bob, digest, extent)).toBe(!isBetter(bob, alice, digest, extent));
      expect(isBetter(alice, alice, digest, extent)).toBe(false);
    }
  });

  it('spread extents about evenly over the peers', () => {
    const peers = Array.from({ length: 8 }, (_, at) => `12D3KooW${at}` as PeerId);
    const wins = new Map<PeerId, number>();
    for (let extent = 0; extent < 800; extent += 1) {
      const best = peers.reduce((one, other) => (isBetter(other, one, digest, extent) ? other : one));
      wins.set(best, (wins.get(best) ?? 0) + 1);
    }
    for (const peer of peers) expect(wins.get(peer), peer).toBeGreaterThan(60);
  });

  it('are part of the wire contract: these orders never change', () => {
    const one = `sha256:${'00'.repeat(32)}` as Digest;
    const order = (extent: number) =>
      ['p1', 'p2', 'p3', 'p4'].sort((a, b) => (isBetter(a as PeerId, b as PeerId, one, extent) ? -1 : 1)).join(' ');
    expect([0, 1, 2].map(order)).toMatchInlineSnapshot(`
      [
        "p3 p1 p2 p4",
        "p4 p1 p2 p3",
        "p2 p4 p1 p3",
      ]
    `);
  });
});

describe('the order of turns', () => {
  it('has every member that fetches and can ask the origin, and this node', () => {
    const download = downloadOf(8 * MiB);
    join(download, alice, []);
    join(download, bob, 'all');
    join(download, carol, [], { canAskOrigin: false });
    expect(new Set(turnOrder(self, download))).toEqual(new Set([self, alice]));
  });

  it.each(['passedOverUntilMs', 'restsUntilMs'] as const)(
    'moves the turns of who let one go by to the next in rank, until its pause is over, and nobody else’s (%s)',
    (pause) => {
      const download = downloadOf(8 * MiB);
      for (const peer of [alice, bob, carol]) join(download, peer, []);
      const everybody = [self, alice, bob, carol];
      const owners = () => Array.from({ length: 8 }, (_, extent) => ownerAt(download, extent, everybody, 50));
      const before = owners();
      download.members.get(alice)![pause] = 100;
      const order = turnOrder(self, download);
      const next = order[(order.indexOf(alice) + 1) % order.length];
      const alices = before.indexOf(alice);
      expect(owners().map((owner) => (owner === alice ? next : owner))).toEqual(
        before.map((owner) => (owner === alice ? next : owner)),
      );
      expect(rankOf(next!, order, download, alices, 50)).toBe(0);
      expect(rankOf(next!, order, download, alices, 100)).toBe(1);
    },
  );

  it('puts this node behind all others after it gave a turn up, and when all did, each in its own place', () => {
    const everybody = [self, alice, bob, carol];
    const views = everybody.map((own) => {
      const download = downloadOf(8 * MiB);
      for (const peer of everybody) if (peer !== own) join(download, peer, []);
      return { own, download, order: turnOrder(own, download) };
    });
    const ranks = (extent: number) =>
      views.map(({ own, download, order }) => rankOf(own, order, download, extent, 50)).sort();
    const first = views[0]!;
    const mine = first.download.extents.findIndex((_, extent) => ownerOf(first.order, first.download, extent) === self);
    first.download.restsUntilMs = 100;
    expect(rankOf(self, first.order, first.download, mine, 50)).toBe(3);
    expect(rankOf(self, first.order, first.download, mine, 100)).toBe(0);
    for (const { own, download } of views) {
      download.restsUntilMs = 100;
      for (const peer of everybody) if (peer !== own) download.members.get(peer)!.restsUntilMs = 100;
    }
    for (let extent = 0; extent < 8; extent += 1) expect(ranks(extent)).toEqual([0, 1, 2, 3]);
    // Who is late or has it does not come back for it.
    first.download.members.get(alice)!.lateUntilMs = 100;
    for (let piece = 0; piece < first.download.plan.pieceCount; piece += 1)
      first.download.members.get(bob)!.have.add(piece);
    const behind = Array.from({ length: 8 }, (_, extent) => rankOf(self, first.order, first.download, extent, 50));
    expect(Math.max(...behind)).toBe(1);
  });

  it('keeps the turns that have begun when members come or go, and changes those to come', () => {
    const download = downloadOf(16 * MiB);
    for (const peer of [alice, bob]) join(download, peer, []);
    originTurns(self, [download], 0, options);
    const begun = Array.from({ length: 8 }, (_, extent) => download.extents[extent]!.owner);
    expect(begun).not.toContain(undefined);
    join(download, carol, []);
    originTurns(self, [download], 1, options);
    expect(Array.from({ length: 8 }, (_, extent) => download.extents[extent]!.owner)).toEqual(begun);
    dropMember(download, alice);
    originTurns(self, [download], 2, options);
    begun.forEach((owner, extent) => {
      if (owner !== alice) expect(download.extents[extent]!.owner).toBe(owner);
      else expect([self, bob, carol]).toContain(download.extents[extent]!.owner);
    });
    const toCome = Array.from({ length: 6 }, (_, at) => ownerOf(turnOrder(self, download), download, 8 + at));
    expect(new Set(toCome)).toEqual(new Set([self, bob, carol]));
  });

  it('is the same but for the turns of a member that one of two nodes does not know', () => {
    const peers = Array.from({ length: 32 }, (_, at) => `12D3KooW${at}` as PeerId);
    const ownersOf = (known: PeerId[]) => {
      const download = downloadOf(100 * MiB);
      for (const peer of known) join(download, peer, []);
      const order = turnOrder(self, download);
      return download.extents.map((_, extent) => ownerOf(order, download, extent));
    };
    const [all, some] = [ownersOf(peers), ownersOf(peers.filter((_, at) => at % 8 > 0))];
    const differing = all.filter((owner, extent) => owner !== some[extent]);
    const moved = all.filter((owner) => peers.indexOf(owner!) % 8 === 0);
    // An eighth of the turns must move; those who take them over move a few of their own.
    expect(moved.length).toBeGreaterThan(5);
    expect(differing.length).toBeLessThan(2 * moved.length);
  });

  it('gives neighbouring extents to different members', () => {
    const download = downloadOf(8 * MiB);
    for (const peer of [alice, bob, carol]) join(download, peer, []);
    const owners = [0, 1, 2, 3].map((extent) => ownerAt(download, extent, [self, alice, bob, carol]));
    expect(new Set(owners).size).toBe(4);
  });

  it('has one owner for all extents when the origin only streams whole blobs', () => {
    const download = downloadOf(8 * MiB);
    for (const peer of [alice, bob]) join(download, peer, []);
    download.isOriginWhole = true;
    const owners = [0, 1, 2, 3].map((extent) => ownerAt(download, extent, [self, alice, bob]));
    expect(new Set(owners).size).toBe(1);
  });

  it('is of this node alone when it relies on itself', () => {
    const download = downloadOf(8 * MiB);
    join(download, alice, []);
    download.isSelfReliant = true;
    expect(turnOrder(self, download)).toEqual([self]);
  });

  it('ranks a stranger last', () => {
    const download = downloadOf(8 * MiB);
    join(download, alice, []);
    const order = turnOrder(self, download);
    expect(rankOf(bob, order, download, 0, 0)).toBe(order.length);
  });
});

describe('the lag of a node', () => {
  it('is forgotten when nobody is waited for any more', () => {
    const lag = new Lag(options);
    lag.stretch(2_000);
    expect(lag.moreMs).toBe(8_000);
    lag.forget();
    expect([lag.moreMs, lag.stretch(0)]).toEqual([0, options]);
  });

  it('makes it wait longer for others, and is forgotten within seconds', () => {
    const lag = new Lag(options);
    expect(lag.stretch(0)).toEqual(options);
    const late = lag.stretch(500);
    expect(late).toEqual({
      ...options,
      takeoverMs: options.takeoverMs + 2_000,
      originStallMs: options.originStallMs + 2_000,
      peerStallMs: options.peerStallMs + 2_000,
    });
    expect(lag.stretch(100).takeoverMs).toBe(options.takeoverMs + 1_800);
    expect(lag.stretch(600).takeoverMs).toBe(options.takeoverMs + 2_400);
    for (let tick = 0; tick < 70; tick += 1) lag.stretch(0);
    expect(lag.stretch(0)).toEqual(options);
    expect(lag.stretch(-3)).toEqual(options);
  });
});

describe('turns at the origin', () => {
  const turnsAt = (download: DownloadState, nowMs = 0) => originTurns(self, [download], nowMs, options);

  it('give a lone node runs of several extents, and every extent once', () => {
    const download = downloadOf(32 * MiB);
    const { turns } = turnsAt(download);
    const extents = turns.flatMap((turn) => turn.extents);
    expect(new Set(extents).size).toBe(extents.length);
    expect(turns.some((turn) => turn.extents.length > 1)).toBe(true);
  });

  it('give a node among others its own extents at once and the others’ after the takeover time of each rank', () => {
    const download = downloadOf(4 * MiB);
    join(download, alice, []);
    const own = turnsAt(download).turns.flatMap((turn) => turn.extents);
    for (const extent of own)
      download.extents[extent]!.claims.set(self, { sinceMs: 0, progressMs: 0, receivedBytes: 0 });
    expect(own.length).toBe(2);
    expect(turnsAt(download, options.takeoverMs - 1).turns).toEqual([]);
    expect(turnsAt(download, options.takeoverMs - 1).wakeAtMs).toBe(options.takeoverMs);
    expect(turnsAt(download, options.takeoverMs).turns.flatMap((turn) => turn.extents)).toHaveLength(2);
  });

  it('count patience from when this node may ask, not from when it began to look for others', () => {
    const download = downloadOf(4 * MiB, { originNotBeforeMs: 3_000 });
    join(download, alice, []);
    expect(turnsAt(download, 0).turns).toEqual([]);
    const own = turnsAt(download, 3_000).turns.flatMap((turn) => turn.extents);
    expect(own).toHaveLength(2);
    for (const extent of own)
      download.extents[extent]!.claims.set(self, { sinceMs: 3_000, progressMs: 3_300, receivedBytes: 0 });
    expect(turnsAt(download, 2_999 + options.takeoverMs).turns).toEqual([]);
    expect(turnsAt(download, 3_000 + options.takeoverMs).turns.flatMap((turn) => turn.extents)).toHaveLength(2);
  });

  it('wait for a claim that moves and take over one that stopped', () => {
    const download = downloadOf(MiB);
    join(download, alice, []);
    download.extents[0]!.dueSinceMs = 0;
    download.extents[0]!.claims.set(alice, { sinceMs: 0, progressMs: 1_000, receivedBytes: 10 });
    expect(turnsAt(download, 2_900).turns).toEqual([]);
    expect(turnsAt(download, 3_000 + options.takeoverMs).turns).toHaveLength(1);
  });

  it('pass by members whose turns stand still, and this node too while its own do', () => {
    const download = downloadOf(8 * MiB);
    for (const peer of [alice, bob]) join(download, peer, []);
    const atMs = options.originStallMs;
    const own = turnOf(download, self);
    const claim = { sinceMs: 0, progressMs: 0, receivedBytes: 0 };
    download.extents[own]!.claims.set(self, { ...claim, progressMs: atMs });
    const alices = turnOf(download, alice);
    download.extents[alices]!.claims.set(alice, claim);
    turnsAt(download, atMs);
    expect(download.members.get(alice)!.restsUntilMs).toBeGreaterThan(atMs);
    expect(download.members.get(bob)!.restsUntilMs).toBe(0);
    applyClaim(self, download, alice, alices, 5, atMs, options);
    expect(download.members.get(alice)!.restsUntilMs).toBe(0);
    download.extents[own]!.claims.set(self, claim);
    expect(turnsAt(download, 10 * atMs).turns).toEqual([]);
  });

  it('do not wait for a turn that moves and takes far longer than own ones, nor for the next of that member', () => {
    const download = downloadOf(8 * MiB);
    for (const peer of [alice, bob]) join(download, peer, []);
    const alices = turnOf(download, alice);
    download.slowestTurnMs = 4_000 / 3;
    download.extents[alices]!.claims.set(alice, { sinceMs: 0, progressMs: 3_900, receivedBytes: 10 });
    turnsAt(download, 3_900);
    expect(download.members.get(alice)!.lateUntilMs).toBe(0);
    const { turns } = turnsAt(download, 4_000);
    expect(download.members.get(alice)!.lateUntilMs).toBe(24_000);
    expect(turns.length).toBeGreaterThan(0);
    // What it says does not change that.
    applyClaim(self, download, alice, alices, 20, 4_100, options);
    expect(download.members.get(alice)!.lateUntilMs).toBe(24_000);
    expect(ownerAt(download, alices + 3, [self, alice, bob], 4_100)).not.toBe(alice);
  });

  it('call late what takes three times as long as the slowest turns of the others, this node among them', () => {
    const download = downloadOf(8 * MiB);
    for (const peer of [alice, bob, carol]) join(download, peer, []);
    const alices = turnOf(download, alice);
    download.slowestTurnMs = 1_000;
    // What is held against it is not its own pace.
    Object.assign(download.members.get(alice)!, { slowestTurnMs: 60_000 });
    const isLateAfter = (bobsMs: number | undefined, carolsMs: number | undefined, nowMs: number) => {
      Object.assign(download.members.get(bob)!, { slowestTurnMs: bobsMs });
      Object.assign(download.members.get(carol)!, { slowestTurnMs: carolsMs });
      download.members.get(alice)!.lateUntilMs = 0;
      download.extents[alices]!.claims.set(alice, { sinceMs: 0, progressMs: nowMs, receivedBytes: 10 });
      download.stallsSeenMs = Number.NEGATIVE_INFINITY;
      turnsAt(download, nowMs);
      return download.members.get(alice)!.lateUntilMs > 0;
    };
    expect([isLateAfter(undefined, undefined, 2_999), isLateAfter(undefined, undefined, 3_000)]).toEqual([false, true]);
    // One that is slow as well does not make all wait, be it the only one that is known, two of three do.
    expect([isLateAfter(60_000, undefined, 2_999), isLateAfter(60_000, undefined, 3_000)]).toEqual([false, true]);
    expect([isLateAfter(100, undefined, 2_999), isLateAfter(100, undefined, 3_000)]).toEqual([false, true]);
    // Most are quicker than this node, which its own link may hold up.
    expect([isLateAfter(100, 100, 1_999), isLateAfter(100, 100, 2_000)]).toEqual([false, true]);
    expect([isLateAfter(900, 60_000, 2_999), isLateAfter(900, 60_000, 3_000)]).toEqual([false, true]);
    expect([isLateAfter(4_000, 5_000, 11_999), isLateAfter(4_000, 5_000, 12_000)]).toEqual([false, true]);
    // Who lied about the blob, or is mute, is not believed in this either.
    download.distrusted.add(bob);
    expect(isLateAfter(4_000, 5_000, 3_000)).toBe(true);
    download.distrusted.clear();
    download.members.get(carol)!.isMute = true;
    expect(isLateAfter(4_000, 5_000, 3_000)).toBe(true);
  });

  it('know how long the turns of another take, from its claim until it holds the extent', () => {
    const download = downloadOf(8 * MiB);
    join(download, alice, []);
    const member = download.members.get(alice)!;
    const turn = (extent: number, sinceMs: number, endMs: number) => {
      applyClaim(self, download, alice, extent, 0, sinceMs, options);
      const { start, end } = extentPieceRange(download.plan, extent);
      applyMemberHas(download, alice, [start], endMs - 100);
      const before = member.slowestTurnMs;
      applyMemberHas(download, alice, [end - 1], endMs);
      return [before, member.slowestTurnMs];
    };
    expect(turn(2, 1_000, 2_500)).toEqual([undefined, 1_500]);
    expect(turn(3, 3_000, 3_700)).toEqual([1_500, 1_500]);
    expect(turn(4, 4_000, 6_000)).toEqual([1_500, 2_000]);
    // Said once more after it was doubted, it is no turn.
    applySuspicion(download, [...Array(19).keys()]);
    applyMemberHas(download, alice, [...Array(19).keys()], 50_000);
    expect(member.slowestTurnMs).toBe(2_000);
    // Without a claim it came from somebody else.
    applyMemberHas(download, alice, [...Array(5).keys()], 60_000);
    expect(member.slowestTurnMs).toBe(2_000);
  });

  it('wait a little longer for a turn that will be through before another would', () => {
    const download = downloadOf(8 * MiB);
    join(download, alice, []);
    const alices = turnOf(download, alice);
    download.slowestTurnMs = 4_000 / 3;
    const lateWith = (receivedBytes: number, nowMs: number) => {
      download.members.get(alice)!.lateUntilMs = 0;
      download.extents[alices]!.claims.set(alice, { sinceMs: 0, progressMs: 3_900, receivedBytes });
      turnsAt(download, nowMs);
      return download.members.get(alice)!.lateUntilMs > 0;
    };
    const sizeBytes = MiB;
    // It needs as long for all of it as a third of the limit more than it has had, or less.
    expect([lateWith(sizeBytes * 0.7, 4_000), lateWith(sizeBytes * 0.8, 4_100)]).toEqual([true, false]);
    expect([lateWith(sizeBytes * 0.8, 7_900), lateWith(sizeBytes * 0.8, 8_000)]).toEqual([false, true]);
  });

  it('wait for a member again once a turn it began after a late one is through in time', () => {
    const setUp = (sinceMs: number) => {
      const download = downloadOf(8 * MiB);
      join(download, alice, []);
      const alices = turnOf(download, alice);
      Object.assign(download.members.get(alice)!, { lateUntilMs: 24_000 });
      download.extents[alices]!.claims.set(alice, { sinceMs, progressMs: sinceMs, receivedBytes: 0 });
      const { start, end } = extentPieceRange(download.plan, alices);
      const deliver = (from: number, to: number) => {
        const pieces = Array.from({ length: to - from }, (_, at) => from + at);
        applyMemberHas(download, alice, pieces, sinceMs + 500);
        return download.members.get(alice)!.lateUntilMs;
      };
      return { start, end, deliver };
    };
    const { start, end, deliver } = setUp(4_000);
    expect([deliver(start, end - 1), deliver(end - 1, end)]).toEqual([end - start > 1 ? 24_000 : 0, 0]);
    const late = setUp(3_999);
    expect(late.deliver(late.start, late.end)).toBe(24_000);
  });

  describe('in a window of eight of which each of four has two', () => {
    const begunWith = (claimed: number, peer: PeerId, { seed = 'a', nowMs = 1_001 } = {}) => {
      const download = downloadOf(64 * MiB, { digest: `sha256:${seed.repeat(64)}` as Digest });
      for (const member of [alice, bob, carol]) join(download, member, []);
      download.originBytesPerSecond = 3 * MiB - 1;
      for (const { claims } of download.extents.slice(0, claimed))
        claims.set(peer, { sinceMs: 0, progressMs: nowMs, receivedBytes: 0 });
      const order = turnOrder(self, download);
      const rankedFirst = (busy: ReadonlySet<PeerId>) =>
        Array.from({ length: options.originWindowExtents - claimed }, (_, at) => claimed + at).filter(
          (extent) => rankOf(self, order, download, extent, nowMs, busy) === 0,
        );
      const begun = turnsAt(download, nowMs).turns.flatMap(({ extents }) => extents);
      return { begun, own: rankedFirst(new Set()), withoutAlice: rankedFirst(new Set([alice])) };
    };

    it('are not begun by this node while two of its own take long', () => {
      const { begun, own } = begunWith(1, self);
      expect([begun, own.length > 0]).toEqual([own, true]);
      expect(begunWith(2, self).begun).toEqual([]);
      const quick = begunWith(2, self, { nowMs: 1_000 });
      expect([quick.begun, quick.own.length > 0]).toEqual([quick.own, true]);
    });

    it('go to the next in rank while two of their owner take long', () => {
      const { begun, own } = begunWith(1, alice);
      expect(begun).toEqual(own);
      const busy = [...'abcdef'].map((seed) => begunWith(2, alice, { seed }));
      for (const { begun: taken, withoutAlice } of busy) expect(taken).toEqual(withoutAlice.slice(0, 2));
      expect(busy.some(({ begun: taken, own: usual }) => taken.some((extent) => !usual.includes(extent)))).toBe(true);
      const quick = begunWith(2, alice, { nowMs: 1_000 });
      expect(quick.begun).toEqual(quick.own);
    });
  });

  it('wait for a turn as long as it moves when this node has not been at the origin', () => {
    const download = downloadOf(2 * MiB);
    join(download, alice, []);
    const alices = turnOf(download, alice);
    download.extents[alices]!.claims.set(alice, { sinceMs: 0, progressMs: 60_000, receivedBytes: 10 });
    turnsAt(download, 60_000);
    expect(download.members.get(alice)!.lateUntilMs).toBe(0);
  });

  it('fix the owner of a whole stream with the first open extent, not with those behind it', () => {
    const download = downloadOf(8 * MiB);
    join(download, alice, []);
    download.isOriginWhole = true;
    turnsAt(download, 0);
    expect(download.extents.map(({ owner }) => owner !== undefined)).toEqual([true, ...Array(7).fill(false)]);
  });

  it('wait for a turn that is the whole blob as long as it moves', () => {
    const download = downloadOf(8 * MiB);
    join(download, alice, []);
    Object.assign(download, { isOriginWhole: true, slowestTurnMs: 1_000 });
    download.extents[0]!.claims.set(alice, { sinceMs: 0, progressMs: 60_000, receivedBytes: 10 });
    turnsAt(download, 60_000);
    expect(download.members.get(alice)!.lateUntilMs).toBe(0);
  });

  it('ask for nothing that is held here or by a member', () => {
    const download = downloadOf(2 * MiB, { held: [0, 1, 2] });
    join(download, alice, [3, 4, 5], { canAskOrigin: false });
    expect(turnsAt(download).turns).toMatchObject([{ first: 6, count: 1 }]);
  });

  it('ask nothing while the origin may not be asked yet, and say when', () => {
    const download = downloadOf(2 * MiB, { originNotBeforeMs: 70 });
    expect(turnsAt(download, 10)).toEqual({ turns: [], wakeAtMs: 70 });
    expect(turnsAt(downloadOf(2 * MiB, { canAskOrigin: false })).turns).toEqual([]);
  });

  it('keep few extents on their way at once', () => {
    const download = downloadOf(16 * MiB);
    join(download, alice, []);
    expect(turnsAt(download).turns.flatMap((turn) => turn.extents)).toHaveLength(options.originWindowExtents / 2);
    expect(turnsAt(download, options.takeoverMs).turns.flatMap((turn) => turn.extents)).toHaveLength(
      options.originWindowExtents,
    );
  });

  describe('of a window that starts with two', () => {
    const started = { ...options, originWindowStartExtents: 2 };
    /** The extents that are due, for anybody. */
    const dueAt = (nowMs: number, changes: Parameters<typeof downloadOf>[1] = {}, bobs: number[] = []) => {
      const download = downloadOf(64 * MiB, changes);
      join(download, alice, []);
      join(download, bob, bobs);
      originTurns(self, [download], nowMs, started);
      return download.extents.filter((state) => state.dueSinceMs !== undefined).length;
    };

    it('are two before anybody holds a thing', () => {
      expect(dueAt(0)).toBe(2);
    });

    it('are one more for each that this node or another holds, until all of the window is open', () => {
      const pieces = (count: number) => Array.from({ length: count }, (_, piece) => piece);
      // The head of five pieces, and one extent of two.
      expect([dueAt(0, {}, pieces(5)), dueAt(0, { held: pieces(5) }), dueAt(0, {}, pieces(7))]).toEqual([3, 3, 4]);
      expect(dueAt(0, {}, pieces(100))).toBe(8);
    });

    it('are one more for each quarter of a second in which the origin may be asked', () => {
      expect([dueAt(249), dueAt(250), dueAt(500), dueAt(60_000)]).toEqual([2, 3, 4, 8]);
      expect([dueAt(1_000, { originNotBeforeMs: 751 }), dueAt(1_000, { originNotBeforeMs: 750 })]).toEqual([2, 3]);
    });

    it('are all of it for a node that is alone', () => {
      const download = downloadOf(64 * MiB);
      originTurns(self, [download], 0, started);
      expect(download.extents.filter((state) => state.dueSinceMs !== undefined)).toHaveLength(8);
    });

    it('are as few for one that is alone among peers until it has been so for a second', () => {
      const peers = new Map([[alice, createPeerState(alice, false)]]);
      const due = (nowMs: number) => {
        const download = downloadOf(64 * MiB, { originNotBeforeMs: 500 });
        const { turns } = originTurns(self, [download], nowMs, started, peers);
        return turns.map(({ extents }) => extents.length);
      };
      expect(due(500)).toEqual([1, 1]);
      expect(due(1_499)).toEqual([1, 1, 1, 1, 1]);
      expect(due(1_500)).toEqual([4, 4]);
    });

    it('are one more for one that is held, however large the extents of the blob are', () => {
      const head = Array.from({ length: 5 }, (_, piece) => piece);
      const download = downloadOf(5 * 1024 * MiB, { held: [...head, 5] });
      join(download, alice, []);
      originTurns(self, [download], 0, started);
      expect(download.extents.filter((state) => state.dueSinceMs !== undefined)).toHaveLength(4);
    });

    it('do not become more by a blob that this node cannot read there', () => {
      const other = downloadOf(64 * MiB, { canAskOrigin: false, digest: `sha256:${'c'.repeat(64)}` as Digest });
      const download = downloadOf(64 * MiB, { originNotBeforeMs: 1_000 });
      for (const blob of [other, download]) join(blob, alice, [5, 6, 7, 8], { canAskOrigin: blob === download });
      const due = () => download.extents.filter((state) => state.dueSinceMs !== undefined).length;
      originTurns(self, [download, other], 1_000, started);
      // Two, and two that alice holds of the blob itself; the head of the other is one of them.
      expect(due()).toBe(3);
    });
  });

  it('start many small blobs side by side', () => {
    const blobs = Array.from({ length: 20 }, (_, at) => downloadOf(64 * KiB, { digest: `sha256:${at}` as Digest }));
    for (const blob of blobs) join(blob, alice, [], { canAskOrigin: false });
    expect(originTurns(self, blobs, 0, options).turns).toHaveLength(20);
  });

  it('begin with the heads of all large blobs, then go on with the first', () => {
    const [one, other] = ['one', 'other'].map((name) => downloadOf(20 * MiB, { digest: `sha256:${name}` as Digest }));
    for (const blob of [one!, other!]) join(blob, alice, [], { canAskOrigin: false });
    for (const blob of [one!, other!]) join(blob, bob, []);
    originTurns(self, [one!, other!], 0, options);
    const due = (download: DownloadState) =>
      download.extents.flatMap((state, extent) => (state.dueSinceMs === undefined ? [] : [extent]));
    expect([due(one!), due(other!)]).toEqual([[0, 1, 2, 3, 4, 5, 6], [0]]);
  });

  it('are heads alone while the window is as small as it starts, half heads when it has opened', () => {
    const blobs = [...'abcdefgh'].map((seed) =>
      downloadOf(20 * MiB, { digest: `sha256:${seed.repeat(64)}` as Digest }),
    );
    for (const blob of blobs) join(blob, alice, []);
    const due = (nowMs: number) => {
      originTurns(self, blobs, nowMs, { ...options, originWindowStartExtents: 3 });
      return blobs.map(({ extents }) => extents.filter(({ dueSinceMs }) => dueSinceMs !== undefined).length);
    };
    expect(due(0)).toEqual([1, 1, 1, 0, 0, 0, 0, 0]);
    expect(due(60_000)).toEqual([5, 1, 1, 1, 0, 0, 0, 0]);
  });

  it('alone: goes on behind the head of each in one run, and asks for nothing twice', () => {
    const blobs = ['one', 'other'].map((name) => downloadOf(16 * MiB, { digest: `sha256:${name}` as Digest }));
    const { turns } = originTurns(self, blobs, 0, options);
    expect(turns.map(({ download, extents }) => [blobs.indexOf(download), extents])).toEqual([
      [0, [0, 1, 2, 3]],
      [1, [0, 1, 2, 3]],
      [0, [4, 5, 6, 7]],
    ]);
  });

  it('begin with small blobs, and leave half of the window to large ones', () => {
    const large = downloadOf(64 * MiB);
    const small = Array.from({ length: 30 }, (_, at) => downloadOf(MiB / 2, { digest: `sha256:${at}` as Digest }));
    for (const blob of [large, ...small]) join(blob, alice, [], { canAskOrigin: false });
    for (const blob of [large, ...small]) join(blob, bob, []);
    const { turns } = originTurns(self, [large, ...small], options.takeoverMs, options);
    const due = (blobs: DownloadState[]) =>
      blobs.flatMap((blob) => blob.extents.filter(({ dueSinceMs }) => dueSinceMs !== undefined)).length;
    expect([due(small), due([large])]).toEqual([8, 4]);
    expect(turns[0]!.download).not.toBe(large);
  });

  it('ask once for the whole blob when the origin ignores Range', () => {
    const download = downloadOf(8 * MiB);
    download.isOriginWhole = true;
    const { turns } = turnsAt(download);
    expect(turns).toMatchObject([{ first: 0, count: download.plan.pieceCount }]);
    expect(turns[0]!.extents).toHaveLength(download.plan.extentCount);
  });
});

describe('the piece picker', () => {
  const pick = (download: DownloadState, peers: ReturnType<typeof peerStates>, limits = budget, nowMs = 0) =>
    pickPieces(self, [download], peers, limits, nowMs, random, options);
  const picked = (picks: ReturnType<typeof pick>) =>
    picks.flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at));

  it('takes the rarest piece first', () => {
    const download = downloadOf(4 * MiB);
    join(download, alice, [0, 1, 2]);
    join(download, bob, [0, 1]);
    expect(pick(download, peerStates(alice, bob), { requests: 1, bytes: 16 * MiB })[0]!.first).toBe(2);
  });

  describe('among pieces that are equally rare', () => {
    const head = [0, 1, 2, 3, 4, 5, 6, 7];
    const twoPieces = { requests: 2, bytes: 16 * MiB };
    const seededBySlow = (held: number[], others: PeerId[] = []) => {
      const download = downloadOf(64 * MiB, { held });
      for (const peer of [alice, bob]) join(download, peer, 'all', { isFetching: false });
      for (const peer of others) join(download, peer, []);
      return download;
    };
    const slow = () => peerStates(...[alice, bob].map((peer) => ({ peer, rateBytesPerSecond: MiB })));

    it('takes the next in order where nobody else fetches', () => {
      expect(picked(pick(seededBySlow(head), slow(), twoPieces))).toEqual([8, 9]);
    });

    it('takes the next of the blob that began first', () => {
      const [first, second] = ['one', 'other'].map((name) => {
        const download = downloadOf(64 * MiB, { held: head, digest: `sha256:${name}` as Digest });
        join(download, alice, 'all', { isFetching: false });
        return download;
      }) as [DownloadState, DownloadState];
      const picks = pickPieces(self, [first, second], slow(), twoPieces, 0, random, options);
      expect(picks).toMatchObject([
        { download: first, first: 8 },
        { download: first, first: 9 },
      ]);
    });

    it('takes any where others fetch, and before it could have heard of them', () => {
      const picksOf = (create: () => DownloadState) =>
        new Set(Array.from({ length: 20 }, () => picked(pick(create(), slow(), twoPieces)).join()));
      expect(picksOf(() => seededBySlow(head, [carol])).size).toBeGreaterThan(5);
      expect(picksOf(() => seededBySlow(head.slice(1))).size).toBeGreaterThan(5);
    });
  });

  it('takes what a client waits for before the rarest', () => {
    const download = downloadOf(4 * MiB);
    join(download, alice, [0, 1, 2, 5]);
    join(download, bob, [0, 1]);
    download.readers.set(1, 0);
    expect(pick(download, peerStates(alice, bob), { requests: 1, bytes: 16 * MiB })[0]!.first).toBe(0);
  });

  it('takes small blobs before the rest of large ones', () => {
    const large = downloadOf(16 * MiB);
    const small = downloadOf(64 * KiB, { digest: 'sha256:small' as Digest });
    join(large, alice, [8]);
    for (const peer of [alice, bob]) join(small, peer, 'all');
    const picks = pickPieces(self, [large, small], peerStates(alice), { requests: 1, bytes: MiB }, 0, random, options);
    expect(picks).toMatchObject([{ download: small, first: 0 }]);
  });

  it('shares out among those who fetch what a single peer holds, before anybody takes the same', () => {
    const download = downloadOf(16 * MiB, { held: [0, 1, 2, 3, 4] });
    join(download, alice, 'all');
    for (const peer of [bob, carol]) join(download, peer, []);
    download.readers.set(1, 5);
    const isOwn = (piece: number) => [self, bob, carol].sort()[piece % 3] === self;
    const slowly = () =>
      pick(download, peerStates({ peer: alice, rateBytesPerSecond: MiB }), { requests: 2, bytes: MiB });
    const own = picked(slowly());
    expect(own).toEqual([5, 6, 7, 8, 9, 10].filter(isOwn));
    for (const piece of download.availability.keys()) if (isOwn(piece)) markHeld(download, piece);
    expect(picked(slowly())).toHaveLength(2);
  });

  it('helps those whose share is not through from the end of the blob, each helper with other pieces', () => {
    const fetchers = [self, bob, carol].sort();
    const helped = fetchers.map((own) => {
      const download = downloadOf(16 * MiB, { held: [0, 1, 2, 3, 4] });
      join(download, alice, 'all');
      for (const peer of fetchers) if (peer !== own) join(download, peer, []);
      for (const piece of download.availability.keys()) if (fetchers[piece % 3] !== carol) markHeld(download, piece);
      const peers = peerStates({ peer: alice, rateBytesPerSecond: MiB });
      return picked(pickPieces(own, [download], peers, { requests: 2, bytes: MiB }, 0, random, options));
    });
    const [ofSelf, ofBob] = [self, bob].map((peer) => helped[fetchers.indexOf(peer)]!);
    const isNext = (peer: PeerId) => (piece: number) => fetchers[Math.floor(piece / 3) % 3] === peer;
    const carols = [...downloadOf(16 * MiB).availability.keys()].filter((at) => at > 4 && fetchers[at % 3] === carol);
    expect(ofSelf).toEqual(carols.filter(isNext(self)).reverse().slice(0, 2));
    expect(ofBob).toEqual(carols.filter(isNext(bob)).reverse().slice(0, 2));
  });

  it('leaves what only the streaming member holds to whose share it is, for a second', () => {
    const fetchers = [self, alice, bob, carol].sort();
    const download = downloadOf(16 * MiB, { held: [0, 1, 2, 3, 4] });
    join(download, alice, [10, 11, 12, 13]);
    for (const peer of [bob, carol]) join(download, peer, []);
    const own = [10, 11, 12, 13].filter((piece) => fetchers[piece % 4] === self);
    const peers = peerStates({ peer: alice, rateBytesPerSecond: MiB });
    const takenAt = (nowMs: number) => picked(pick(download, peers, { requests: 9, bytes: 9 * MiB }, nowMs));
    expect(takenAt(0)).toHaveLength(2);
    download.isOriginWhole = true;
    expect([takenAt(500), takenAt(1_499)]).toEqual([own, own]);
    expect(takenAt(1_500)).toHaveLength(2);
    const others = [10, 11, 12, 13].filter((piece) => !own.includes(piece));
    markMemberHas(download, download.members.get(bob)!, others[0]!);
    expect(takenAt(600)).toEqual([...own, others[0]]);
  });

  it('leaves a lone seed to send what only it holds, and asks it for the rest when nothing of that is left', () => {
    const download = downloadOf(16 * MiB, { held: [0, 1, 2, 3, 4] });
    join(download, alice, 'all');
    for (const peer of [bob, carol]) join(download, peer, []);
    const spread = 7;
    markMemberHas(download, download.members.get(bob)!, spread);
    const askedOf = (peers: PeerId[]) =>
      pick(download, peerStates(...peers), { requests: 99, bytes: 99 * MiB }).filter(
        ({ first, count }) => first <= spread && spread < first + count,
      );
    expect(askedOf([alice])).toEqual([]);
    expect(askedOf([alice, bob]).map(({ peer }) => peer)).toEqual([bob]);
    for (const piece of download.availability.keys()) if (piece !== spread) markHeld(download, piece);
    expect(askedOf([alice]).map(({ peer }) => peer)).toEqual([alice]);
  });

  it('takes what a client waits for out of turn once a second member holds it', () => {
    const download = downloadOf(16 * MiB, { held: [0, 1, 2, 3, 4] });
    const fetchers = ['bob', 'carol', 'dave', 'erin', 'frank'].map((name) => name as PeerId);
    join(download, alice, 'all');
    for (const peer of fetchers) join(download, peer, []);
    const others = [self, ...fetchers].sort();
    const awaited = Array.from({ length: 6 }, (_, at) => 5 + at).find((piece) => others[piece % 6] !== self) ?? 0;
    download.readers.set(1, awaited);
    const first = () => picked(pick(download, peerStates(alice, bob), { requests: 1, bytes: MiB / 2 }))[0];
    expect(first()).not.toBe(awaited);
    markMemberHas(download, download.members.get(bob)!, awaited);
    expect(first()).toBe(awaited);
  });

  it.each([
    ['held', (download: DownloadState) => void markHeld(download, 0)],
    ['in flight', (download: DownloadState) => void fly(download, requestOf())],
  ])('never takes a piece that is %s', (_, arrange) => {
    const download = downloadOf(MiB);
    join(download, alice, 'all');
    arrange(download);
    expect(picked(pick(download, peerStates(alice)))).toEqual([1]);
  });

  it.each([
    ['banned', { isBanned: true }],
    ['busy', { busyUntilMs: 10 }],
    ['full', { requests: new Set([requestOf(), requestOf({ id: 2 })]) }],
  ])('asks nothing of a peer that is %s', (_, state) => {
    const download = downloadOf(MiB);
    join(download, alice, 'all');
    expect(pick(download, peerStates({ peer: alice, ...state }))).toEqual([]);
  });

  it('asks nothing of a peer that is no member or not connected', () => {
    const download = downloadOf(MiB);
    join(download, bob, 'all');
    expect(pick(download, peerStates(alice))).toEqual([]);
  });

  it('takes from no more suppliers than allowed', () => {
    const download = downloadOf(16 * MiB);
    const peers = Array.from({ length: 10 }, (_, at) => `peer-${at}` as PeerId);
    for (const peer of peers) join(download, peer, 'all');
    expect(new Set(pick(download, peerStates(...peers)).map(({ peer }) => peer)).size).toBeLessThanOrEqual(
      options.maxSuppliers,
    );
  });

  it('prefers a near peer over an equal one', () => {
    const download = downloadOf(MiB);
    join(download, alice, 'all');
    join(download, bob, 'all');
    const peers = peerStates({ peer: alice }, { peer: bob, isNear: true });
    expect(pick(download, peers, { requests: 1, bytes: 16 * MiB })[0]!.peer).toBe(bob);
  });

  it('prefers the peer that is expected to be done first', () => {
    const download = downloadOf(MiB);
    join(download, alice, 'all');
    join(download, bob, 'all');
    const peers = peerStates(
      { peer: alice, rateBytesPerSecond: 100 * MiB },
      { peer: bob, rateBytesPerSecond: 1 * MiB },
    );
    expect(pick(download, peers, { requests: 1, bytes: 16 * MiB })[0]!.peer).toBe(alice);
  });

  it('asks a fast peer for several pieces at once and a slow one for one', () => {
    const fast = downloadOf(16 * MiB);
    join(fast, alice, 'all');
    const most = Math.max(
      ...pick(fast, peerStates({ peer: alice, rateBytesPerSecond: 200 * MiB })).map(({ count }) => count),
    );
    expect(most).toBe(8);
    const slow = downloadOf(16 * MiB);
    join(slow, alice, 'all');
    const picks = pick(slow, peerStates({ peer: alice, rateBytesPerSecond: MiB }));
    expect(picks.every(({ count }) => count === 1)).toBe(true);
  });

  it.each([
    ['requests', { requests: 0, bytes: MiB }],
    ['bytes', { requests: 1, bytes: 0 }],
  ])('takes nothing when no %s are left', (_, limits) => {
    const download = downloadOf(MiB);
    join(download, alice, 'all');
    expect(pick(download, peerStates(alice), limits)).toEqual([]);
  });
});

describe('second requests for what a client waits for', () => {
  const awaited = (download: DownloadState, nowMs: number, peers = [alice, bob]) =>
    pickAwaited([download], peerStates(...peers), { nowMs, random }, options);
  // Pieces of 64, 64, 128, 256 and 512 KiB come first.
  const headed = (readerAt = 0) => {
    const download = downloadOf(4 * MiB);
    for (const peer of [alice, bob, carol]) join(download, peer, 'all');
    download.readers.set(1, readerAt);
    return download;
  };
  const soonMs = options.peerStallMs / 4;

  it('go to another holder half a second after the first, of which nothing else is wrong', () => {
    const download = headed();
    const late = fly(download, requestOf({ receivedBytes: 16 * KiB, progressMs: soonMs }));
    expect(awaited(download, soonMs)).toBeUndefined();
    expect(awaited(download, soonMs + 1)).toMatchObject({ pick: { peer: bob, first: 0, count: 1 }, late });
  });

  it.each([
    ['128 KiB', 2, true],
    ['256 KiB', 3, false],
  ])('are made for a small piece only: %s', (_, piece, isMade) => {
    const download = headed(piece);
    fly(download, requestOf({ first: piece }));
    expect(awaited(download, 60_000) !== undefined).toBe(isMade);
  });

  it.each([
    ['no client is at the piece', () => headed(1)],
    ['it is here', () => Object.assign(headed(), { held: downloadOf(4 * MiB, { held: [0] }).held })],
    [
      'two were asked already',
      () => {
        const download = headed();
        fly(download, requestOf({ id: 2, peer: bob }));
        return download;
      },
    ],
  ])('are not made when %s', (_, given) => {
    const download = given();
    fly(download, requestOf());
    expect(awaited(download, 60_000, [alice, bob, carol])).toBeUndefined();
  });

  it.each([
    ['it comes from the origin', { peer: undefined }, [alice, bob]],
    ['nobody else holds it', {}, [alice]],
  ])('are not made when %s', (_, request, peers) => {
    const download = headed();
    fly(download, requestOf(request));
    expect(awaited(download, 60_000, peers)).toBeUndefined();
  });

  it('are spread over the holders, whoever was fast before', () => {
    const download = headed();
    fly(download, requestOf());
    const peers = peerStates(alice, { peer: bob, rateBytesPerSecond: 100 * MiB }, carol);
    const asked = Array.from(
      { length: 40 },
      () => pickAwaited([download], peers, { nowMs: 60_000, random }, options)?.pick.peer,
    );
    expect(asked.filter((peer) => peer === bob).length).toBeGreaterThan(5);
    expect(asked.filter((peer) => peer === carol).length).toBeGreaterThan(5);
  });

  it('come before first requests for other pieces, as soon as there is room for one', () => {
    const { clock, scheduler } = createTestScheduler({ maxRequests: 2 });
    for (const peer of [alice, bob]) scheduler.peerSeen(peer, false);
    scheduler.addDownload({ digest, sizeBytes: 4 * MiB, originDelayMs: 0, canAskOrigin: false, held: [] });
    const all = { pieces: undefined, isFetching: false, canAskOrigin: false };
    scheduler.memberState(digest, alice, all);
    scheduler.readerAt(digest, 1, 0);
    const [first, second] = scheduler.decide().flatMap((action) => (action.kind === 'fetchPieces' ? [action] : []));
    expect(first?.request.first).toBe(0);
    scheduler.memberState(digest, bob, all);
    clock.advance(soonMs + 1);
    expect(scheduler.decide()).toEqual([]);
    scheduler.requestEnded(second?.request.id ?? 0, { kind: 'busy', retryAfterMs: 0 });
    expect(scheduler.decide()).toMatchObject([{ isHedge: true, request: { peer: bob, first: 0, count: 1 } }]);
  });
});

describe('hedges', () => {
  const hedge = (
    download: DownloadState,
    late: RequestState,
    nowMs: number,
    usual = Number.POSITIVE_INFINITY,
    peers = peerStates(alice, bob),
  ) =>
    pickHedges(
      { downloads: new Map([[download.digest as string, download]]), requests: [late], peers },
      { usualMs: () => usual, budget: 4, nowMs, random },
      options,
    );
  const twoSeeds = () => {
    const download = downloadOf(MiB);
    join(download, alice, 'all');
    join(download, bob, 'all');
    return download;
  };

  it('ask another holder when a request shows no progress', () => {
    const download = twoSeeds();
    const late = fly(download, requestOf());
    expect(hedge(download, late, options.peerStallMs)).toEqual([]);
    expect(hedge(download, late, options.peerStallMs + 1)).toMatchObject([{ pick: { peer: bob, first: 0, count: 1 } }]);
  });

  it('ask another holder when a request takes several times as long as usual', () => {
    const download = twoSeeds();
    const late = fly(download, requestOf({ progressMs: 1_490 }));
    expect(hedge(download, late, 1_499, 500)).toEqual([]);
    expect(hedge(download, late, 1_501, 500)).toHaveLength(1);
  });

  it.each([
    ['goes to the origin', { peer: undefined }],
    ['has brought all its pieces', { first: 1 }],
  ])('leave a request alone that %s', (_, changes) => {
    const download = twoSeeds();
    markHeld(download, 1);
    expect(hedge(download, fly(download, requestOf(changes)), 60_000)).toEqual([]);
  });

  it('leave a request alone that is hedged, until that ends and something of it is missing', () => {
    const download = twoSeeds();
    join(download, carol, 'all');
    const late = fly(download, requestOf({ count: 2, isHedged: true }));
    const other = fly(download, requestOf({ id: 2, peer: bob }));
    const hedged = () => hedge(download, late, 60_000, 1, peerStates(alice, bob, carol));
    expect(hedged()).toEqual([]);
    removeFlight(download, other);
    expect(hedged()).toMatchObject([{ pick: { first: 0, count: 2 } }]);
    markHeld(download, 0);
    expect(hedged()).toMatchObject([{ pick: { first: 1, count: 1 } }]);
  });

  it.each([
    ['nobody else holds the piece', () => peerStates(alice)],
    ['the other holder is banned', () => peerStates(alice, { peer: bob, isBanned: true })],
    ['the other holder is full', () => peerStates(alice, { peer: bob, requests: new Set([requestOf(), requestOf()]) })],
  ])('ask nobody when %s', (_, peers) => {
    const download = twoSeeds();
    expect(hedge(download, fly(download, requestOf()), 60_000, 1, peers())).toEqual([]);
  });

  it('overtake a request that goes on so slowly that another holder would be done long before', () => {
    const download = twoSeeds();
    const crawling = () => fly(download, requestOf({ count: 2, receivedBytes: 100 * KiB, progressMs: 1_990 }));
    const at = (rateBytesPerSecond: number) =>
      hedge(
        download,
        crawling(),
        2_000,
        Number.POSITIVE_INFINITY,
        peerStates(alice, { peer: bob, rateBytesPerSecond }),
      );
    expect(at(10 * MiB)).toMatchObject([{ pick: { peer: bob, first: 0, count: 2 } }]);
    expect(at(60 * KiB)).toEqual([]);
  });

  it.each([
    ['twice what requests usually take', 800, 1_600],
    ['a second, where they take less', 100, 1_000],
    ['twice as long as one may stand still, where they take longer', 60_000, 2 * options.peerStallMs],
    ['as long as one may stand still, where that is not known', Number.POSITIVE_INFINITY, options.peerStallMs],
  ])('let a request find its pace for %s', (_, usualMs, paceMs) => {
    const download = twoSeeds();
    const crawling = fly(download, requestOf({ count: 2, receivedBytes: 16 * KiB }));
    const at = (nowMs: number) => {
      const late = Object.assign(crawling, { progressMs: nowMs });
      return hedge(download, late, nowMs, usualMs, peerStates(alice, { peer: bob, rateBytesPerSecond: 10 * MiB }));
    };
    expect(at(paceMs - 1)).toEqual([]);
    expect(at(paceMs)).toHaveLength(1);
  });

  it('skip what the request brought already', () => {
    const download = twoSeeds();
    const late = fly(download, requestOf({ count: 2 }));
    markHeld(download, 0);
    expect(hedge(download, late, 60_000)[0]!.pick.first).toBe(1);
  });
});

describe('what members say', () => {
  it('stops own requests to the origin for pieces that a member has by now', () => {
    const download = downloadOf(MiB);
    join(download, alice, []);
    fly(download, requestOf({ peer: undefined, count: 2, id: 9 }));
    expect(applyMemberHas(download, alice, [0], 0)).toEqual([]);
    expect(applyMemberHas(download, alice, [1], 0)).toEqual([9]);
  });

  it('is ignored of pieces when the sender is no member', () => {
    const download = downloadOf(MiB);
    expect(applyMemberHas(download, alice, [0], 0)).toEqual([]);
    expect(download.availability[0]).toBe(0);
  });

  it('replaces what was known of it', () => {
    const download = downloadOf(MiB);
    join(download, alice, [0, 1]);
    join(download, alice, [1]);
    expect([...download.availability]).toEqual([0, 1]);
  });

  it('makes a member that has everything a seed', () => {
    const download = downloadOf(MiB);
    join(download, alice, [0]);
    applyMemberHas(download, alice, [1], 0);
    expect(download.members.get(alice)!.isFetching).toBe(false);
  });

  it('does not count while this node relies on itself', () => {
    const download = downloadOf(MiB);
    download.isSelfReliant = true;
    join(download, alice, 'all');
    expect([...download.availability]).toEqual([0, 0]);
  });

  it('passes over who let an extent go by that another takes', () => {
    const download = downloadOf(4 * MiB);
    for (const peer of [alice, bob, carol]) join(download, peer, []);
    const order = turnOrder(self, download);
    const extent = 0;
    const [owner, second] = order;
    download.extents[extent]!.dueSinceMs = 0;
    passOver(self, download, extent, second!, options.takeoverMs - 1, options);
    const passed = () => [...download.members.values()].filter(({ passedOverUntilMs }) => passedOverUntilMs > 0);
    expect(passed()).toEqual([]);
    passOver(self, download, extent, second!, options.takeoverMs, options);
    expect(passed().map(({ peer }) => peer)).toEqual(owner === self ? [] : [owner]);
  });

  it('leaves out who does not race the peers, though it says that it is there, until it does', () => {
    const download = downloadOf(4 * MiB);
    for (const peer of [alice, bob, carol]) join(download, peer, []);
    const order = turnOrder(self, download);
    const extent = [0, 1, 2, 3].find((at) => ownerOf(order, download, at) !== self)!;
    const { start, end } = extentPieceRange(download.plan, extent);
    const owner = ownerOf(order, download, extent)!;
    const next = order[(order.indexOf(owner) + 1) % order.length]!;
    // A seed holds it, and is slow.
    join(download, 'dave' as PeerId, 'all');
    download.extents[extent]!.dueSinceMs = 0;
    passOver(self, download, extent, next, options.takeoverMs, options);
    applyMemberHas(download, owner, [start === 0 ? end : 0], options.takeoverMs);
    const rankAt = (nowMs: number, at = extent) => rankOf(next, order, download, at, nowMs);
    expect([rankAt(options.takeoverMs), rankAt(options.takeoverMs + 20_000)]).toEqual([0, 1]);
    applyClaim(self, download, owner, extent, 0, options.takeoverMs, options);
    expect(rankAt(options.takeoverMs)).toBe(1);
  });

  it('renews a claim when its bytes grow, and not when they are said again', () => {
    const download = downloadOf(MiB);
    join(download, alice, []);
    const claimAt = (nowMs: number, receivedBytes: number) =>
      applyClaim(self, download, alice, 0, receivedBytes, nowMs, options);
    claimAt(0, 0);
    claimAt(100, 10);
    claimAt(200, 10);
    expect(download.extents[0]!.claims.get(alice)).toMatchObject({ progressMs: 100 });
  });

  it('does not renew the claims of a member that never has a piece to show', () => {
    const download = downloadOf(4 * MiB);
    join(download, alice, []);
    for (let second = 0; second < 120; second += 1)
      applyClaim(self, download, alice, 1, second, second * 1_000, options);
    expect(download.extents[1]!.claims.get(alice)!.progressMs).toBeLessThan(40_000);
    applyMemberHas(download, alice, [0], 120_000);
    applyClaim(self, download, alice, 1, 500, 121_000, options);
    expect(download.extents[1]!.claims.get(alice)!.progressMs).toBe(121_000);
  });

  it('excuses members for the time this node could not listen', () => {
    const download = downloadOf(4 * MiB);
    join(download, alice, []);
    Object.assign(download.extents[0]!, { dueSinceMs: 0 });
    applyClaim(self, download, alice, 1, 0, 100, options);
    excuseMembers(download, 700, 750);
    expect(download.extents[0]!.dueSinceMs).toBe(700);
    expect(download.extents[1]!.claims.get(alice)!).toMatchObject({ sinceMs: 750, progressMs: 750 });
  });

  it('begins a turn claimed together with others when the one before it moves', () => {
    const download = downloadOf(16 * MiB);
    for (const peer of [alice, bob]) join(download, peer, []);
    for (const extent of [0, 1, 2]) applyClaim(self, download, alice, extent, 0, 0, options);
    applyClaim(self, download, bob, 3, 0, 0, options);
    applyMemberHas(download, alice, [0], 500);
    expect(download.extents.slice(0, 3).map(({ claims }) => claims.get(alice)!.sinceMs)).toEqual([0, 500, 500]);
    expect(download.extents[3]!.claims.get(bob)!.sinceMs).toBe(0);
  });

  it('does not hold a turn against who made way for another, and believes who speaks again', () => {
    const download = downloadOf(4 * MiB);
    for (const peer of [alice, bob]) join(download, peer, []);
    const member = download.members.get(alice)!;
    applyClaim(self, download, bob, 0, 0, 0, options);
    applyRelease(download, alice, 0, 0);
    expect(member.restsUntilMs).toBe(0);
    member.passedOverUntilMs = 100;
    applyMemberHas(download, alice, [1], 0);
    expect(member.passedOverUntilMs).toBe(0);
  });

  it('leaves no turn to who lied, and does not wait for what it claims', () => {
    const download = downloadOf(4 * MiB);
    for (const peer of [alice, bob]) join(download, peer, []);
    applyClaim(self, download, alice, 0, 0, 0, options);
    applyDistrust(download, alice);
    applyClaim(self, download, alice, 1, 0, 0, options);
    expect(download.extents.every(({ claims }) => claims.size === 0)).toBe(true);
    expect(new Set(turnOrder(self, download))).toEqual(new Set([self, bob]));
    // Not even when it comes back and says that it holds all.
    dropMember(download, alice);
    join(download, alice, 'all');
    expect(download.availability[0]).toBe(0);
  });

  it('is ignored of an extent that the blob does not have', () => {
    const download = downloadOf(MiB);
    join(download, alice, []);
    applyClaim(self, download, alice, 99, 0, 0, options);
    applyRelease(download, alice, 99, 0);
    expect(download.extents.every(({ claims }) => claims.size === 0)).toBe(true);
  });

  it('frees one turn on a release and all on giving up the origin', () => {
    const download = downloadOf(4 * MiB);
    join(download, alice, []);
    for (const extent of [0, 1]) applyClaim(self, download, alice, extent, 0, 0, options);
    applyRelease(download, alice, 0, 0);
    expect(download.extents.map(({ claims }) => claims.size)).toEqual([0, 1, 0, 0]);
    expect(download.members.get(alice)!.restsUntilMs).toBeGreaterThan(0);
    applyRelease(download, alice, undefined, 0);
    expect(download.extents.map(({ claims }) => claims.size)).toEqual([0, 0, 0, 0]);
    expect(download.members.get(alice)!.canAskOrigin).toBe(false);
  });

  it('loses a seed that turns out not to have what it said, and only the pieces of one that still fetches', () => {
    const download = downloadOf(MiB);
    join(download, alice, 'all');
    join(download, bob, [0]);
    forgetHave(download, requestOf({ peer: alice }));
    forgetHave(download, requestOf({ peer: bob }));
    expect([...download.members.keys()]).toEqual([bob]);
    expect([...download.availability]).toEqual([0, 0]);
  });
});

describe('a blockage', () => {
  const blockageOf = (download: DownloadState, nowMs = 0, peers = peerStates(alice, bob)) =>
    findBlockage(download, self, peers, nowMs, options);
  const failing = (sizeBytes: number) => {
    const download = downloadOf(sizeBytes);
    download.originFailures = 2;
    return download;
  };

  it.each([
    ['all is held', () => downloadOf(MiB, { held: [0, 1], canAskOrigin: false })],
    ['the origin can be asked', () => downloadOf(MiB)],
    [
      'a member holds what is missing',
      () => {
        const download = failing(MiB);
        join(download, alice, 'all');
        return download;
      },
    ],
    [
      'a peer is sending',
      () => {
        const download = failing(MiB);
        fly(download, requestOf());
        return download;
      },
    ],
    [
      'the origin is sending',
      () => {
        const download = failing(MiB);
        fly(download, requestOf({ peer: undefined, receivedBytes: 1 }));
        return download;
      },
    ],
    [
      'somebody else is at the origin',
      () => {
        const download = failing(MiB);
        join(download, alice, []);
        applyClaim(self, download, alice, 0, 0, 0, options);
        return download;
      },
    ],
  ])('is none while %s', (_, arrange) => {
    expect(blockageOf(arrange(), 100)).toBeUndefined();
  });

  it('counts the pieces that nobody can give', () => {
    const download = downloadOf(MiB, { canAskOrigin: false, held: [0] });
    expect(blockageOf(download)).toEqual({ missingPieces: 1 });
  });

  it('is none after the first failure of the origin, in flight or not', () => {
    const download = failing(MiB);
    download.originFailures = 1;
    expect(blockageOf(download)).toBeUndefined();
    fly(download, requestOf({ peer: undefined, count: 2 }));
    expect(blockageOf(download)).toBeUndefined();
  });

  it('is there while a failed origin is asked again and sends nothing', () => {
    const download = failing(MiB);
    fly(download, requestOf({ peer: undefined, count: 2 }));
    expect(blockageOf(download)).toEqual({ missingPieces: 2 });
  });

  it('is there when the one at the origin stopped moving', () => {
    const download = failing(MiB);
    join(download, alice, []);
    applyClaim(self, download, alice, 0, 0, 0, options);
    expect(blockageOf(download, options.originStallMs)).toEqual({ missingPieces: 2 });
  });

  it('is there while all who hold what is missing are mute or refuse, however often they are asked', () => {
    const download = failing(MiB);
    join(download, alice, 'all');
    join(download, bob, [0]);
    const peers = peerStates(
      { peer: alice, muteSinceMs: 1_000 },
      { peer: bob, refused: { sinceMs: 1_000, untilMs: 2_500 } },
    );
    const request = requestOf({ peer: alice, count: 2 });
    fly(download, request);
    expect(blockageOf(download, 2_600, peers)).toEqual({ missingPieces: 2 });
    request.receivedBytes = 1;
    expect(blockageOf(download, 2_600, peers)).toBeUndefined();
    request.receivedBytes = 0;
    peers.get(bob)!.refused = undefined;
    expect(blockageOf(download, 2_600, peers)).toEqual({ missingPieces: 1 });
    join(download, carol, 'all');
    expect(blockageOf(download, 2_600, peers)).toBeUndefined();
  });

  it('is there for a node that relies on itself, whatever others claim', () => {
    const download = failing(MiB);
    join(download, alice, []);
    applyClaim(self, download, alice, 0, 0, 0, options);
    download.isSelfReliant = true;
    expect(blockageOf(download)).toEqual({ missingPieces: 2 });
  });
});

describe('durations of requests', () => {
  it('are unknown before there are enough', () => {
    const durations = new RequestDurations();
    for (let at = 0; at < 7; at += 1) durations.add(100, 10);
    expect(durations.usualMs(100)).toBe(Number.POSITIVE_INFINITY);
    durations.add(100, 10);
    expect(durations.usualMs(200)).toBe(20);
  });

  it('follow the latest ones and shrug off a few slow ones', () => {
    const durations = new RequestDurations();
    for (let at = 0; at < 64; at += 1) durations.add(1, 1_000);
    for (let at = 0; at < 64; at += 1) durations.add(1, at % 10 === 0 ? 500 : 10);
    expect(durations.usualMs(1)).toBe(10);
  });
});

describe('the state of a download', () => {
  it('counts pieces nobody holds per extent, whoever comes and goes', () => {
    const download = downloadOf(2 * MiB);
    const unheld = () => download.extents.map((extent) => extent.unheld);
    expect(unheld()).toEqual([5, 2]);
    join(download, alice, [0, 5]);
    join(download, bob, [5]);
    markHeld(download, 0);
    expect(unheld()).toEqual([4, 1]);
    dropMember(download, alice);
    expect(unheld()).toEqual([4, 1]);
    dropMember(download, bob);
    unmarkHeld(download, 0);
    expect(unheld()).toEqual([5, 2]);
  });

  it('forgets the claims of who leaves, member or not', () => {
    const download = downloadOf(MiB);
    applyClaim(self, download, alice, 0, 0, 0, options);
    dropMember(download, alice);
    expect(download.extents[0]!.claims.size).toBe(0);
  });

  it('tells whether a request has anything left to bring', () => {
    const download = downloadOf(MiB);
    join(download, alice, [1]);
    const request = requestOf({ count: 2 });
    expect(isHeldByMembers(download, request)).toBe(false);
    markHeld(download, 0);
    expect([isHeldByMembers(download, request), isAllHeld(download, request)]).toEqual([true, false]);
    markHeld(download, 1);
    expect(isAllHeld(download, request)).toBe(true);
    expect(markMemberHas(download, download.members.get(alice)!, 1)).toBe(false);
    expect(planPieces(MiB).pieceCount).toBe(2);
  });
});
