import { describe, expect, it } from 'vitest';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { addFlight, createRequest, removeFlight } from '../../../src/swarm/schedule/flights.ts';
import { originTurns } from '../../../src/swarm/schedule/origin-turns.ts';
import { heldUpAfterMs, runningTurns, turnsAtOnce } from '../../../src/swarm/schedule/own-turns.ts';
import type { DownloadState } from '../../../src/swarm/schedule/state.ts';
import { alice, bob, carol, downloadOf, join, MiB, options, self } from './schedule-fixtures.ts';

/** A request to the origin that runs, as the scheduler keeps it. */
function run(download: DownloadState, first: number, startedMs = 0, peer?: PeerId) {
  const request = createRequest(
    first + 1,
    { digest: download.digest, peer, first, count: 2, isRace: false },
    startedMs,
  );
  addFlight(download, request);
  return request;
}

describe('how many turns a node has at once', () => {
  const at = (sizeBytes: number, rate: number | undefined, takers: number) => {
    const download = downloadOf(sizeBytes);
    download.originBytesPerSecond = rate;
    return turnsAtOnce(download, takers, options);
  };

  it('is one until one was through, and where they are slow', () => {
    expect([at(64 * MiB, undefined, 2), at(64 * MiB, MiB - 1, 2)]).toEqual([1, 1]);
  });

  it('is its share of the window where they are fast', () => {
    expect([2, 3, 4, 8, 32].map((takers) => at(64 * MiB, MiB, takers))).toEqual([4, 3, 2, 1, 1]);
  });

  it('has no limit where they are very fast', () => {
    expect([at(64 * MiB, 3 * MiB - 1, 8), at(64 * MiB, 3 * MiB, 8)]).toEqual([1, Number.POSITIVE_INFINITY]);
  });

  it('has no limit for a node that takes turns alone, nor for a blob of two windows', () => {
    expect([at(64 * MiB, undefined, 1), at(16 * MiB, 1, 8), at(17 * MiB, 1, 8)]).toEqual([
      Number.POSITIVE_INFINITY,
      Number.POSITIVE_INFINITY,
      1,
    ]);
  });
});

describe('the turns of a node that run', () => {
  it('are its requests to the origin behind the head of the blob', () => {
    const download = downloadOf(64 * MiB);
    run(download, 0);
    run(download, 20, 0, alice);
    expect(runningTurns(download, 1, options).count).toBe(0);
    const request = run(download, 10);
    run(download, 30, 500);
    expect(runningTurns(download, 1, options)).toEqual({ count: 2, untilMs: options.originStallMs });
    removeFlight(download, request);
    expect(runningTurns(download, 1, options)).toEqual({ count: 1, untilMs: options.originStallMs + 500 });
  });

  it('do not count any more when they take too long', () => {
    const download = downloadOf(64 * MiB);
    run(download, 10);
    expect(runningTurns(download, options.originStallMs - 1, options).count).toBe(1);
    expect(runningTurns(download, options.originStallMs, options)).toEqual({
      count: 0,
      untilMs: Number.POSITIVE_INFINITY,
    });
    download.slowestTurnMs = 3_000;
    expect(runningTurns(download, 8_999, options)).toEqual({ count: 1, untilMs: 9_000 });
    expect(runningTurns(download, 9_000, options).count).toBe(0);
    // As the one that runs looks, it takes longer.
    download.ownTurnBytesPerSecond = MiB / 5;
    expect(runningTurns(download, 9_000, options).untilMs).toBe(15_000);
  });
});

describe('a turn that is held up', () => {
  it('has run three times as long as turns take, and a second at least', () => {
    const heldUpWith = (own: number | undefined, others: number | undefined) => {
      const download = downloadOf(64 * MiB);
      Object.assign(download, { originBytesPerSecond: own, othersTurnBytesPerSecond: others });
      return heldUpAfterMs(download);
    };
    expect([heldUpWith(undefined, undefined), heldUpWith(8 * MiB, undefined), heldUpWith(MiB / 4, undefined)]).toEqual([
      1_000, 1_000, 12_000,
    ]);
    expect(heldUpWith(1, undefined)).toBe(30_000);
    // Here it is this node's own link that is slow.
    expect(heldUpWith(MiB / 4, MiB)).toBe(3_000);
  });
});

describe('a turn that has come', () => {
  const begun = (download: DownloadState, nowMs: number) => {
    const { turns, wakeAtMs } = originTurns(self, [download], nowMs, options);
    return { extents: turns.flatMap(({ extents }) => extents), wakeAtMs };
  };
  const shared = () => {
    const download = downloadOf(64 * MiB);
    // The head is there: it would not wait.
    join(download, alice, [0, 1, 2, 3, 4]);
    for (const peer of [bob, carol]) join(download, peer, []);
    return download;
  };

  it('waits for the one before it, and begins when that is through', () => {
    const download = shared();
    const [first, ...more] = begun(download, 0).extents;
    expect([first === undefined, more]).toEqual([false, []]);
    const request = run(download, 2 * (first ?? 0) + 3);
    download.extents[first!]!.claims.set(self, { sinceMs: 0, progressMs: 300, receivedBytes: MiB / 2 });
    expect(begun(download, 300)).toEqual({ extents: [], wakeAtMs: expect.any(Number) });
    removeFlight(download, request);
    download.extents[first!]!.claims.clear();
    expect(begun(download, 300).extents).toHaveLength(1);
  });

  it('does not wait for one that takes too long', () => {
    const download = shared();
    run(download, 60);
    expect(begun(download, 0)).toMatchObject({ extents: [], wakeAtMs: options.originStallMs });
    expect(begun(download, options.originStallMs).extents).toHaveLength(1);
  });

  it('does not wait where all others are passed by', () => {
    const download = shared();
    run(download, 60);
    for (const member of download.members.values()) member.passedOverUntilMs = 5_000;
    expect(begun(download, 0).extents.length).toBeGreaterThan(1);
  });

  it('does not wait for that of another blob', () => {
    const download = shared();
    const other = downloadOf(64 * MiB);
    run(other, 60);
    const { turns } = originTurns(self, [download, other], 0, options);
    expect(turns.filter((turn) => turn.download === download)).toHaveLength(1);
  });
});
