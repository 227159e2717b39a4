import { describe, expect, it } from 'vitest';
import type { DownloadState, PeerState } from '../../../src/swarm/schedule/state.ts';
import { isRaced, isSlowlySupplied, noteRefused, Supply } from '../../../src/swarm/schedule/supply.ts';
import { SwarmSimulation } from '../../support/swarm-simulation.ts';
import { alice, bob, downloadOf, join, KiB, MiB, options, peerStates } from './schedule-fixtures.ts';

describe('the supply of peers', () => {
  /** Seconds of so many bytes each, judged as the scheduler does. */
  const judged = (download: DownloadState, bytesPerSecond: readonly number[], isFromPeer = true) => {
    const supply = new Supply();
    supply.judge([download], 0);
    bytesPerSecond.forEach((bytes, second) => {
      supply.received(bytes, isFromPeer);
      supply.judge([download], (second + 1) * 1_000);
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

  it('is excused for the time this node could not listen', () => {
    const download = seeded();
    const supply = new Supply();
    supply.judge([download], 0);
    supply.excuse(1_900, 2_000);
    supply.judge([download], 2_000);
    supply.judge([download], 2_800);
    expect(download.slowWindows).toBe(0);
  });

  it('is slow for a piece only when every holder was tried and is', () => {
    const download = seeded();
    const slowly = (...peers: Parameters<typeof peerStates>) =>
      isSlowlySupplied(download, 3, peerStates(...peers), 5_000);
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
  const isSlow = (peers: ReturnType<typeof peerStates>, nowMs: number) => isSlowlySupplied(seeded(), 3, peers, nowMs);

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
  const simulate = (nodes: number, layers: number[], seeders: number, link?: typeof uplink) => {
    const rateBytesPerSecond = 20 * MiB;
    const simulation = new SwarmSimulation({
      ...{ nodes, layers, seeders, rateBytesPerSecond, uploadSlots: 8, maxWaiting: 2, busyMs: 50, seed: 1 },
      schedule: { ...options, takeoverMs: 1_500, originStallMs: 3_000, maxSuppliers: 8, maxInFlightBytes: 32 * MiB },
      ...(link === undefined ? {} : { uplink: link }),
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

  it('gets a blob from one seed alone about as fast as its link goes, and nothing from the origin', () => {
    const { lastSeconds, originRatio } = simulate(8, [128 * MiB], 1);
    expect(lastSeconds).toBeLessThan(1.25 * (128 / 20));
    expect(originRatio).toBe(0);
  });
});
