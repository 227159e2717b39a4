import { describe, expect, it } from 'vitest';
import type { DownloadState, PeerState, RequestState } from '../../../src/swarm/schedule/state.ts';
import { isRaced, isSlowlySupplied, noteRefused, Supply } from '../../../src/swarm/schedule/supply.ts';
import { type SimulationOptions, SwarmSimulation } from '../../support/swarm-simulation.ts';
import { alice, bob, downloadOf, join, KiB, MiB, options, peerStates } from './schedule-fixtures.ts';

describe('the supply of peers', () => {
  /** Seconds of so many bytes each, judged as the scheduler does. */
  const judged = (download: DownloadState, bytesPerSecond: readonly number[], isFromPeer = true) => {
    const supply = new Supply();
    supply.judge([download], new Map(), 0, options);
    bytesPerSecond.forEach((bytes, second) => {
      supply.received(bytes, isFromPeer);
      supply.judge([download], new Map(), (second + 1) * 1_000, options);
    });
    return isRaced(download);
  };
  const seeded = (changes: Partial<DownloadState> = {}) => {
    const download = Object.assign(downloadOf(16 * MiB), changes);
    join(download, alice, 'all');
    return download;
  };
  const slow = [200 * KiB, 200 * KiB];

  it('is raced when it was slow twice in a row', () => {
    expect(judged(seeded(), slow.slice(0, 1))).toBe(false);
    expect(judged(seeded(), slow)).toBe(true);
    expect(judged(seeded(), [0, 0])).toBe(true);
    expect(judged(seeded(), [200 * KiB, 2 * MiB, 200 * KiB])).toBe(false);
  });

  it('is raced when it comes in bursts that are slow, too', () => {
    expect(judged(seeded(), [300 * KiB, 20 * KiB, 300 * KiB, 20 * KiB])).toBe(true);
  });

  it.each<[string, DownloadState, number[]]>([
    ['it is as fast as links are', seeded(), [4 * MiB, 4 * MiB]],
    ['it grows, as in a young swarm', seeded(), [100 * KiB, 200 * KiB, 400 * KiB]],
    ['the end is near', Object.assign(downloadOf(300 * KiB)), slow],
    ['the origin was no faster', seeded({ originBytesPerSecond: 700 * KiB }), slow],
    ['nobody holds what is missing', downloadOf(16 * MiB), slow],
  ])('is not raced while %s', (_, download, rates) => {
    expect(judged(download, rates)).toBe(false);
  });

  it('is not called slow because the origin takes the link, as long as the origin was not measured', () => {
    expect(judged(seeded(), [4 * MiB, 4 * MiB], false)).toBe(false);
  });

  it('is judged later by a node that runs late', () => {
    const late = { ...options, peerStallMs: options.peerStallMs + 4_000 };
    const download = seeded();
    const supply = new Supply();
    for (const nowMs of [0, 2_900, 3_000, 5_900]) supply.judge([download], new Map(), nowMs, late);
    expect(isRaced(download)).toBe(false);
    supply.judge([download], new Map(), 6_000, late);
    expect(isRaced(download)).toBe(true);
  });

  it('is excused for the time this node could not listen', () => {
    const download = seeded();
    const supply = new Supply();
    supply.judge([download], new Map(), 0, options);
    supply.excuse(1_900, 2_000);
    supply.judge([download], new Map(), 2_000, options);
    supply.judge([download], new Map(), 2_800, options);
    expect(download.slowWindows).toBe(0);
  });

  describe('in a race', () => {
    const inRace = (peers: ReturnType<typeof peerStates>) => {
      const download = seeded();
      const supply = new Supply();
      let nowMs = 0;
      const second = (fromPeers: number, fromOrigin = 0) => {
        supply.received(fromPeers, true);
        supply.received(fromOrigin, false);
        nowMs += 1_000;
        supply.judge([download], peers, nowMs, options);
        return isRaced(download);
      };
      supply.judge([download], peers, nowMs, options);
      for (const bytes of slow) second(bytes);
      return { download, second };
    };

    it('goes on when what it brings is passed on quickly, while something is left that only slow ones hold', () => {
      const { second } = inRace(peerStates({ peer: alice, rateBytesPerSecond: 200 * KiB }));
      for (let at = 0; at < 10; at += 1) expect(second(20 * MiB)).toBe(true);
    });

    it('goes on until those are half as fast as the origin: it relieves them of the requests of others', () => {
      const peers = peerStates({ peer: alice, rateBytesPerSecond: 300 * KiB });
      const { download, second } = inRace(peers);
      download.originBytesPerSecond = MiB;
      for (let at = 0; at < 10; at += 1) expect(second(20 * MiB)).toBe(true);
      peers.get(alice)!.rateBytesPerSecond = 600 * KiB;
      expect(Array.from({ length: 4 }, () => second(20 * MiB))).toEqual([true, true, true, false]);
    });

    it('goes on for three seconds when nothing like that is left', () => {
      const { second } = inRace(peerStates({ peer: alice, rateBytesPerSecond: 20 * MiB }));
      const seconds = Array.from({ length: 5 }, () => second(20 * MiB));
      expect(seconds).toEqual([true, true, true, false, false]);
    });

    it('is measured by all that the origin brings to one that reads there alone', () => {
      const { download, second } = inRace(peerStates({ peer: alice, rateBytesPerSecond: 300 * KiB }));
      // Eight turns share the origin's link.
      download.originBytesPerSecond = MiB;
      second(300 * KiB, 8 * MiB);
      expect([download.loneOriginBytesPerSecond, second(300 * KiB)]).toEqual([8 * MiB, true]);
      join(download, bob, [0]);
      second(300 * KiB, 8 * MiB);
      expect(download.loneOriginBytesPerSecond).toBe(0);
    });

    it('shows nothing of the origin where it only takes the link from the peers', () => {
      const { download, second } = inRace(peerStates({ peer: alice, rateBytesPerSecond: 200 * KiB }));
      second(20 * KiB, 400 * KiB);
      expect(download.loneOriginBytesPerSecond).toBe(0);
    });
  });

  it('is slow for a piece whose holder was fast and has been slow for two seconds', () => {
    const request = { startedMs: 3_000, receivedBytes: 100 * KiB } as RequestState;
    const peers = (...requests: RequestState[]) =>
      peerStates({ peer: alice, rateBytesPerSecond: 20 * MiB, requests: new Set(requests) });
    const isSlow = (nowMs: number, ...requests: RequestState[]) =>
      isSlowlySupplied(seeded(), 3, peers(...requests), nowMs, options);
    expect([isSlow(5_000, request), isSlow(5_001, request)]).toEqual([false, true]);
    const fast = { startedMs: 3_000, receivedBytes: 4 * MiB } as RequestState;
    expect(isSlow(6_000, request, fast)).toBe(false);
    const young = { startedMs: 4_900, receivedBytes: 0 } as RequestState;
    expect([isSlow(6_000, young), isSlow(6_000, young, request)]).toEqual([false, true]);
  });

  it('is slow for a piece only when every holder was tried and is', () => {
    const download = seeded();
    const slowly = (...peers: Parameters<typeof peerStates>) =>
      isSlowlySupplied(download, 3, peerStates(...peers), 5_000, options);
    expect(slowly({ peer: alice, rateBytesPerSecond: 200 * KiB })).toBe(true);
    expect(slowly({ peer: alice, rateBytesPerSecond: 20 * MiB })).toBe(false);
    expect(slowly(alice)).toBe(false);
    join(download, bob, [3]);
    expect(slowly({ peer: alice, rateBytesPerSecond: 200 * KiB }, bob)).toBe(false);
    expect(slowly({ peer: alice, rateBytesPerSecond: 200 * KiB }, { peer: bob, isBanned: true })).toBe(true);
  });
});

describe('a peer that refuses', () => {
  const since = (state: PeerState, ...refusalsMs: number[]) => {
    for (const atMs of refusalsMs) {
      state.busyUntilMs = atMs + 50;
      noteRefused(state, { startedMs: atMs - 10 }, atMs);
    }
    return state;
  };
  const seeded = () => {
    const download = downloadOf(16 * MiB);
    join(download, alice, 'all');
    return download;
  };
  const fast = () => peerStates({ peer: alice, rateBytesPerSecond: 20 * MiB });
  const isSlow = (peers: ReturnType<typeof peerStates>, nowMs: number) =>
    isSlowlySupplied(seeded(), 3, peers, nowMs, options);

  it('is as good as slow after a second of it, however fast it was', () => {
    const peers = fast();
    since(peers.get(alice)!, 1_000, 1_500, 1_950);
    expect(isSlow(peers, 1_980)).toBe(false);
    since(peers.get(alice)!, 2_100);
    expect(isSlow(peers, 2_100)).toBe(true);
  });

  it('is so for as long as it says itself', () => {
    const peers = fast();
    since(peers.get(alice)!, 1_000).busyUntilMs = 60_000;
    noteRefused(peers.get(alice)!, { startedMs: 990 }, 1_000);
    expect(isSlow(peers, 1_500)).toBe(false);
    expect(isSlow(peers, 2_500)).toBe(true);
  });

  it('is not once it sends something in between, or was not asked for a while', () => {
    const sending = fast();
    since(sending.get(alice)!, 1_000, 1_900).movedMs = 1_950;
    since(sending.get(alice)!, 2_100);
    expect(isSlow(sending, 2_200)).toBe(false);
    const unasked = fast();
    since(unasked.get(alice)!, 1_000, 9_000);
    expect(isSlow(unasked, 9_100)).toBe(false);
  });
});

describe('a fleet with a slow uplink', () => {
  const uplink = (index: number) => (index === 0 ? 200 * KiB : Number.POSITIVE_INFINITY);
  const simulate = (
    nodes: number,
    layers: number[],
    seeders: number,
    link?: typeof uplink,
    events: NonNullable<SimulationOptions['events']> = [],
  ) => {
    const rateBytesPerSecond = 20 * MiB;
    const simulation = new SwarmSimulation({
      ...{ nodes, layers, seeders, rateBytesPerSecond, uploadSlots: 8, maxWaiting: 2, busyMs: 50, seed: 1 },
      schedule: { ...options, takeoverMs: 1_500, originStallMs: 3_000, maxSuppliers: 8, maxInFlightBytes: 32 * MiB },
      ...(link === undefined ? {} : { uplink: link }),
      events,
    });
    const { seconds, originRatio } = simulation.run();
    return { lastSeconds: Math.max(...seconds), originRatio };
  };

  it('takes from the origin what only a slow peer holds, once', () => {
    const { lastSeconds, originRatio } = simulate(3, [6 * MiB], 1, uplink);
    expect(lastSeconds).toBeLessThan(6);
    expect(originRatio).toBeLessThan(1.05);
  });

  it('does not wait for the member that read at the origin and cannot pass it on', () => {
    const { lastSeconds, originRatio } = simulate(8, [64 * MiB], 0, uplink);
    expect(lastSeconds).toBeLessThan(12);
    expect(originRatio).toBeLessThan(1.3);
  });

  it('does not wait for a seed that was fast, and is slow from some moment on', () => {
    const slowDown = ({ rates }: SwarmSimulation) => void rates.splice(0, 1, 200 * KiB);
    const { lastSeconds, originRatio } = simulate(4, [64 * MiB], 1, undefined, [{ atMs: 1_000, run: slowDown }]);
    expect(lastSeconds).toBeLessThan(9);
    expect(originRatio).toBeLessThan(1);
  });

  it('gets a blob from one seed alone about as fast as its link goes, and nothing from the origin', () => {
    const { lastSeconds, originRatio } = simulate(8, [128 * MiB], 1);
    expect(lastSeconds).toBeLessThan(1.25 * (128 / 20));
    expect(originRatio).toBe(0);
  });
});
