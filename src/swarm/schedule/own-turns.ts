import type { ScheduleOptions } from './options.ts';
import { bytesOfExtent, type DownloadState, seenTurnRate } from './state.ts';

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
  if (rate === undefined || rate < slowBytesPerSecond) return 1;
  return rate < fastBytesPerSecond ? Math.ceil(originWindowExtents / takers) : Number.POSITIVE_INFINITY;
}

// An origin that gives one connection less shares its link, or that of this node.
const slowBytesPerSecond = 1024 * 1024;

// A turn is over before another could have been passed on.
const fastBytesPerSecond = 3 * 1024 * 1024;

/** How many turns of this node run, and when the first of them has taken too long to be waited for. The head of a blob is not counted: clients wait for it. */
export function runningTurns(
  download: DownloadState,
  nowMs: number,
  { originStallMs }: ScheduleOptions,
): { readonly count: number; readonly untilMs: number } {
  let count = 0;
  let untilMs = Number.POSITIVE_INFINITY;
  const usualMs = turnMs(download, seenTurnRate(download) ?? 0);
  const longMs = Math.max(originStallMs, longFactor * Math.max(usualMs, download.slowestTurnMs ?? 0));
  for (const { first, startedMs } of download.turns) {
    if (first === 0 || startedMs + longMs <= nowMs) continue;
    count += 1;
    untilMs = Math.min(untilMs, startedMs + longMs);
  }
  return { count, untilMs };
}

/** How long a turn has run that is held up, beside those of the others. */
export function heldUpAfterMs(download: DownloadState): number {
  // This node's own link may be what is slow.
  const rate = Math.max(seenTurnRate(download) ?? 0, download.othersTurnBytesPerSecond ?? 0);
  return Math.max(heldUpMs, longFactor * turnMs(download, rate));
}

/** 0 = nothing is known. */
function turnMs(download: DownloadState, bytesPerSecond: number): number {
  if (bytesPerSecond === 0) return 0;
  return Math.min(longestTurnMs, (bytesOfExtent(download) * 1_000) / Math.max(1, bytesPerSecond));
}

// Long against messages, and against turns where nothing is held up.
const heldUpMs = 1_000;

// An extent of 1 MiB at a tenth of a MiB per second.
const longestTurnMs = 10_000;

// Turns of one pull differ by less, unless one has lost its share of the link for good.
const longFactor = 3;
