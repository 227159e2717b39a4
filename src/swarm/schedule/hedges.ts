import type { PeerId } from '../../content/peer-id.ts';
import { pieceRange } from '../../content/piece-plan.ts';
import type { Random } from '../../lib/clock.ts';
import type { ScheduleOptions } from './options.ts';
import { isUsable, type PiecePick } from './piece-picker.ts';
import { type DownloadState, flightsOf, type PeerState, type RequestState } from './state.ts';

export interface Hedge {
  readonly pick: PiecePick;
  readonly late: RequestState;
}

/**
 * Second requests for pieces that are late: the first one shows no progress, is at a mute peer, takes several times as long as
 * requests usually do, or goes so slowly that another holder would be done long before.
 * The one that comes last is cancelled for real. Each request is hedged once, to a holder that is not already asked, and again when that one has ended and
 * something is still missing: it was busy, or had a part of the run.
 * Pure but for the injected randomness.
 */
export function pickHedges(
  state: {
    readonly downloads: ReadonlyMap<string, DownloadState>;
    readonly requests: Iterable<RequestState>;
    readonly peers: ReadonlyMap<PeerId, PeerState>;
  },
  moment: {
    readonly usualMs: (bytes: number) => number;
    readonly budget: number;
    readonly nowMs: number;
    readonly random: Random;
  },
  options: ScheduleOptions,
): Hedge[] {
  const { downloads, requests, peers } = state;
  const { usualMs, budget, nowMs, random } = moment;
  const hedges: Hedge[] = [];
  const waitOf = (state: PeerState) =>
    (state.inFlightBytes + 1) / (state.rateBytesPerSecond ?? 1) + random.next() / 1e6;
  for (const request of requests) {
    if (hedges.length >= budget) break;
    if (request.peer === undefined) continue;
    const download = downloads.get(request.digest);
    if (download === undefined) continue;
    const isAtMute = peers.get(request.peer)?.muteSinceMs !== undefined && request.startedMs < nowMs;
    const isStalled = isAtMute || nowMs - request.progressMs > options.peerStallMs;
    const usual = usualMs(request.count * download.plan.pieceBytes);
    const isLate = nowMs - request.startedMs > Math.max(options.hedgeFactor * usual, minLateMs);
    const restMs = restOf(request, download, nowMs, paceAfterMs(usual, options));
    if (!isStalled && !isLate && restMs < minLateMs) continue;
    let first = request.first;
    const end = request.first + request.count;
    while (first < end && download.held.has(first)) first += 1;
    if (first === end || (request.isHedged && flightsOf(download, first).size > 1)) continue;
    const supplier = otherHolder(download, first, peers, nowMs, options, waitOf);
    if (supplier === undefined) continue;
    if (!isStalled && !isLate && !wouldOvertake(supplier, download, restMs)) continue;
    const have = download.members.get(supplier.peer)?.have;
    let count = 1;
    while (first + count < end && !download.held.has(first + count) && have?.has(first + count) === true) count += 1;
    hedges.push({ pick: { download, peer: supplier.peer, first, count }, late: request });
  }
  return hedges;
}

/**
 * A second request for a small piece that a client waits for right now, when the first is not through at once: everybody asked the few who held
 * such a piece at the start, and by now many hold it. To be made before first requests for other pieces, which may leave no room.
 */
export function pickAwaited(
  downloads: Iterable<DownloadState>,
  peers: ReadonlyMap<PeerId, PeerState>,
  { nowMs, random }: { readonly nowMs: number; readonly random: Random },
  options: ScheduleOptions,
): Hedge | undefined {
  // Not the fastest holder: that would be the same one for all.
  const waitOf = ({ requests }: PeerState) => requests.size + random.next();
  for (const download of downloads) {
    for (const piece of download.readers.values()) {
      const flights = flightsOf(download, piece);
      const [late] = flights;
      if (late?.peer === undefined || flights.size > 1 || download.held.has(piece)) continue;
      const { start, end } = pieceRange(download.plan, piece);
      if (end - start > smallBytes || nowMs - late.startedMs <= options.peerStallMs * awaitedShare) continue;
      const supplier = otherHolder(download, piece, peers, nowMs, options, waitOf);
      if (supplier !== undefined) return { pick: { download, peer: supplier.peer, first: piece, count: 1 }, late };
    }
  }
  return undefined;
}

// Of the pieces of a head those that cost next to nothing twice.
const smallBytes = 128 * 1024;
// Half a second: most of 32 nodes on two cores have the first piece by then, and longer where this node runs late.
const awaitedShare = 1 / 4;

// Below this a second request costs more than it can save.
const minLateMs = 1_000;
// So much sooner that a whole piece twice is worth it.
const overtakeFactor = 4;
// Nobody who was never asked is presumed fast.
const untriedRate = 1024 * 1024;

/**
 * How old a request must be to have a pace of its own. A slow link shared by many brings pieces in half to twice the usual time, their first bytes say
 * little, and a second request for each that begins slowly makes all slower. Bounded, since slow peers lengthen what is usual.
 */
function paceAfterMs(usualMs: number, { peerStallMs }: ScheduleOptions): number {
  return Number.isFinite(usualMs) ? Math.max(minLateMs, Math.min(2 * usualMs, 2 * peerStallMs)) : peerStallMs;
}

/** How long a request will take yet at the pace it has had. */
function restOf(request: RequestState, download: DownloadState, nowMs: number, fromAgeMs: number): number {
  const ageMs = nowMs - request.startedMs;
  const restBytes = request.count * download.plan.pieceBytes - request.receivedBytes;
  // Without a byte there is no pace: that one waits for a slot, or stalls.
  return ageMs < fromAgeMs || request.receivedBytes === 0 ? 0 : (restBytes / request.receivedBytes) * ageMs;
}

function wouldOvertake(supplier: PeerState, download: DownloadState, restMs: number): boolean {
  const needsMs =
    ((supplier.inFlightBytes + download.plan.pieceBytes) / (supplier.rateBytesPerSecond ?? untriedRate)) * 1_000;
  return needsMs * overtakeFactor < restMs;
}

function otherHolder(
  download: DownloadState,
  piece: number,
  peers: ReadonlyMap<PeerId, PeerState>,
  nowMs: number,
  options: ScheduleOptions,
  waitOf: (state: PeerState) => number,
): PeerState | undefined {
  let best: PeerState | undefined;
  let bestWait = Number.POSITIVE_INFINITY;
  for (const member of download.members.values()) {
    if (!member.have.has(piece)) continue;
    const state = peers.get(member.peer);
    if (!isUsable(state, nowMs) || state.requests.size >= options.maxRequestsPerPeer || member.isMute) continue;
    if ([...(download.flights.get(piece) ?? [])].some((flight) => flight.peer === member.peer)) continue;
    const wait = waitOf(state);
    if (wait < bestWait) {
      bestWait = wait;
      best = state;
    }
  }
  return best;
}
