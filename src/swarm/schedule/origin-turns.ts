import type { PeerId } from '../../content/peer-id.ts';
import { extentPieceRange } from '../../content/piece-plan.ts';
import type { ScheduleOptions } from './options.ts';
import { rendezvousWeight } from './rendezvous.ts';
import type { DownloadState, ExtentState, MemberState } from './state.ts';

/**
 * Who asks the origin for what, and when, so that each byte leaves it once.
 *
 * All extents nobody holds form one sequence: downloads by order, extents by index. The first `originWindowExtents` of it are
 * due: few enough that each comes at a good share of the origin's link and is passed on while the next ones come. The owner of a due extent
 * is the member with the highest rendezvous weight; the k-th in rank starts when `k * takeoverMs` went by without a claim, or
 * when the claims there are stopped moving. Two who claim the same: the higher weight goes on, the other stops.
 * Pure: no clock, no I/O; `nowMs` comes in.
 */
export interface OriginTurn {
  readonly download: DownloadState;
  readonly extent: number;
  readonly first: number;
  readonly count: number;
}

export function originTurns(
  self: PeerId,
  downloads: readonly DownloadState[],
  nowMs: number,
  options: ScheduleOptions,
): { turns: OriginTurn[]; wakeAtMs: number } {
  const turns: OriginTurn[] = [];
  const claimants = countClaims(self, downloads);
  let wakeAtMs = Number.POSITIVE_INFINITY;
  let openBytes = 0;
  for (const download of downloads) {
    const { plan } = download;
    // Small blobs count by bytes, so that many of them can be on their way at once: their cost is round trips, not bandwidth.
    const windowBytes = options.originWindowExtents * Math.max(plan.extentPieces * plan.pieceBytes, extentBytes);
    for (let extent = 0; extent < plan.extentCount; extent += 1) {
      if (openBytes >= windowBytes) return { turns, wakeAtMs };
      const state = download.extents[extent];
      if (state === undefined || state.unheld === 0) continue;
      openBytes += Math.min(plan.extentPieces * plan.pieceBytes, plan.sizeBytes);
      state.dueSinceMs ??= nowMs;
      if (!download.canAskOrigin) continue;
      if (nowMs < download.originNotBeforeMs) {
        wakeAtMs = Math.min(wakeAtMs, download.originNotBeforeMs);
        continue;
      }
      const run = download.isOriginWhole ? wholeRun(download, extent) : missingRun(download, extent);
      if (run === undefined) continue;
      const startAtMs = turnAtMs(self, download, extent, state, claimants, nowMs, options);
      if (startAtMs <= nowMs) {
        turns.push({ download, extent, ...run });
        claimants.set(self, (claimants.get(self) ?? 0) + 1);
      }
      else wakeAtMs = Math.min(wakeAtMs, startAtMs);
    }
  }
  return { turns, wakeAtMs };
}

const extentBytes = 1024 * 1024;

/** When this node should start the extent; infinity while its own request runs or a better claim moves. */
function turnAtMs(
  self: PeerId,
  download: DownloadState,
  extent: number,
  state: ExtentState,
  claimants: ReadonlyMap<PeerId, number>,
  nowMs: number,
  options: ScheduleOptions,
): number {
  if (state.claims.has(self)) return Number.POSITIVE_INFINITY;
  // A whole-blob stream has one owner for all extents.
  const key = download.isOriginWhole ? 0 : extent;
  const own = rendezvousWeight(self, download.digest, key);
  let rank = 0;
  for (const member of download.members.values()) {
    if (!takesTurns(member, nowMs)) continue;
    const weight = rendezvousWeight(member.peer, download.digest, key);
    const busier = (claimants.get(member.peer) ?? 0) - (claimants.get(self) ?? 0);
    if (busier > 0) continue;
    if (busier < 0 || weight > own || (weight === own && member.peer > self)) rank += 1;
  }
  let quietSinceMs = state.dueSinceMs ?? nowMs;
  let patienceMs = options.takeoverMs;
  for (const claim of state.claims.values()) {
    quietSinceMs = Math.max(quietSinceMs, claim.progressMs);
    patienceMs = options.originStallMs;
  }
  if (state.claims.size === 0) return quietSinceMs + rank * patienceMs;
  // Somebody started and stopped moving: the claimants count as gone, the best of the rest goes first.
  return quietSinceMs + patienceMs + Math.max(0, rank - state.claims.size) * options.takeoverMs;
}

/** How many extents each member is fetching now: the next one goes to whoever has the fewest, so that all uplinks have something new. */
function countClaims(self: PeerId, downloads: readonly DownloadState[]): Map<PeerId, number> {
  const claimants = new Map<PeerId, number>();
  for (const download of downloads) {
    for (const extent of download.extents) {
      if (extent.unheld === 0) continue;
      for (const peer of extent.claims.keys()) claimants.set(peer, (claimants.get(peer) ?? 0) + 1);
    }
  }
  void self;
  return claimants;
}

export function takesTurns(member: MemberState, nowMs: number): boolean {
  return member.isFetching && member.canAskOrigin && member.passedOverUntilMs <= nowMs;
}

/** The pieces of the extent this node lacks and nobody holds, as one run. */
function missingRun(download: DownloadState, extent: number): { first: number; count: number } | undefined {
  const range = extentPieceRange(download.plan, extent);
  let first = -1;
  let last = -1;
  for (let piece = range.start; piece < range.end; piece += 1) {
    if (download.held.has(piece) || (download.availability[piece] ?? 0) > 0) continue;
    if (first < 0) first = piece;
    last = piece;
  }
  return first < 0 ? undefined : { first, count: last - first + 1 };
}

function wholeRun(download: DownloadState, extent: number): { first: number; count: number } | undefined {
  const isFirstOpen = download.extents.findIndex((state) => state.unheld > 0) === extent;
  return isFirstOpen ? { first: 0, count: download.plan.pieceCount } : undefined;
}
