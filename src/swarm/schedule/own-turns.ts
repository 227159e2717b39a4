import type { PeerId } from '../../content/peer-id.ts';
import type { ScheduleOptions } from './options.ts';
import type { DownloadState } from './state.ts';

/**
 * How many turns one node has at the origin at once for one blob. Where turns share a link, one behind the other brings the same bytes sooner than
 * both beside each other, and fewer connections share the link more evenly; where the origin gives each connection little, only many fill the link.
 * Pure: no clock, no I/O.
 */

/** `takers` = how many take the turns that come to them, this node among them. */
export function turnsAtOnce(
  { originBytesPerSecond: rate, plan }: DownloadState,
  takers: number,
  { originWindowExtents }: ScheduleOptions,
): number {
  // Of a blob that is soon through nothing is left to be passed on while a turn waits for another.
  if (takers <= 1 || plan.extentCount <= 2 * originWindowExtents) return Number.POSITIVE_INFINITY;
  return rate === undefined || rate < slowBytesPerSecond ? 1 : Math.ceil(originWindowExtents / takers);
}

// An origin that gives one connection less shares its link, or that of this node.
const slowBytesPerSecond = 1024 * 1024;

/** Whether turns are over so soon that waiting for one costs more, on busy cores, than it gains. */
export function areTurnsFast({ originBytesPerSecond: rate }: DownloadState): boolean {
  return rate !== undefined && rate >= fastBytesPerSecond;
}

const fastBytesPerSecond = 3 * 1024 * 1024;

/** The turns of this node that run, without that for the head of the blob: clients wait for it, and it for nothing. */
export function countOwnTurns(self: PeerId, { extents, firstOpenExtent }: DownloadState): number {
  let count = 0;
  for (let extent = Math.max(1, firstOpenExtent); extent < extents.length; extent += 1)
    if (extents[extent]?.claims.has(self) === true) count += 1;
  return count;
}
