import { describe, expect, it } from 'vitest';
import { heldUpAfterMs } from '../../../src/swarm/schedule/late-turns.ts';
import { originTurns } from '../../../src/swarm/schedule/origin-turns.ts';
import { areTurnsFast, countOwnTurns, turnsAtOnce } from '../../../src/swarm/schedule/own-turns.ts';
import type { DownloadState } from '../../../src/swarm/schedule/state.ts';
import { alice, bob, carol, downloadOf, join, MiB, options, self } from './schedule-fixtures.ts';

/** This node has begun a turn. */
function begin(download: DownloadState, extent: number, peer = self) {
  download.extents[extent]!.claims.set(peer, { sinceMs: 0, progressMs: 0, receivedBytes: 0 });
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

  it('has no limit for a node that takes turns alone, nor for a blob of two windows', () => {
    expect([at(64 * MiB, undefined, 1), at(16 * MiB, 1, 8), at(17 * MiB, 1, 8)]).toEqual([
      Number.POSITIVE_INFINITY,
      Number.POSITIVE_INFINITY,
      1,
    ]);
  });
});

describe('the turns of a node that run', () => {
  it('are those that it has claimed, but for the head of the blob', () => {
    const download = downloadOf(64 * MiB);
    begin(download, 0);
    begin(download, 7, alice);
    expect(countOwnTurns(self, download)).toBe(0);
    begin(download, 1);
    begin(download, 63);
    expect(countOwnTurns(self, download)).toBe(2);
  });

  it('are fast when they bring 3 MiB a second', () => {
    const download = downloadOf(64 * MiB);
    const isFastAt = (rate: number | undefined) =>
      areTurnsFast(Object.assign(download, { originBytesPerSecond: rate }));
    expect([isFastAt(undefined), isFastAt(3 * MiB - 1), isFastAt(3 * MiB)]).toEqual([false, false, true]);
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
    expect(heldUpWith(1, undefined)).toBe(96_000);
    // Here it is this node's own link that is slow.
    expect(heldUpWith(MiB / 4, MiB)).toBe(3_000);
  });
});

describe('a turn that has come', () => {
  const begunOf = (downloads: DownloadState[]) =>
    originTurns(self, downloads, 0, options).turns.filter((turn) => turn.download === downloads[0]).length;
  const shared = () => {
    const download = downloadOf(64 * MiB);
    // The head is there: it would not wait.
    join(download, alice, [0, 1, 2, 3, 4]);
    for (const peer of [bob, carol]) join(download, peer, []);
    return download;
  };

  it('waits for the one before it, and begins when that is through', () => {
    const download = shared();
    expect(begunOf([download])).toBe(1);
    begin(download, 60);
    expect(begunOf([download])).toBe(0);
    download.extents[60]!.claims.clear();
    expect(begunOf([download])).toBe(1);
  });

  it('waits for none where turns are fast', () => {
    const download = shared();
    for (const extent of [59, 60]) begin(download, extent);
    download.originBytesPerSecond = 3 * MiB - 1;
    expect(begunOf([download])).toBe(0);
    download.originBytesPerSecond = 3 * MiB;
    expect(begunOf([download])).toBeGreaterThan(0);
  });

  it('waits for none where all others are passed by', () => {
    const download = shared();
    begin(download, 60);
    for (const member of download.members.values()) member.passedOverUntilMs = 5_000;
    expect(begunOf([download])).toBeGreaterThan(1);
  });

  it('does not wait for that of another blob', () => {
    const other = downloadOf(64 * MiB);
    begin(other, 60);
    expect(begunOf([shared(), other])).toBe(1);
  });
});
