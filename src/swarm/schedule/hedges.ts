import type { PeerId } from '../../content/peer-id.ts';
import type { Random } from '../../lib/clock.ts';
import type { ScheduleOptions } from './options.ts';
import { isUsable, type PiecePick } from './piece-picker.ts';
import type { DownloadState, PeerState, RequestState } from './state.ts';

/**
 * Second requests for pieces that are late: the first one shows no progress, or takes several times as long as requests usually do.
 * The one that comes last is cancelled for real. Each request is hedged once, to a holder that is not already asked.
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
): { pick: PiecePick; late: RequestState }[] {
  const { downloads, requests, peers } = state;
  const { usualMs, budget, nowMs, random } = moment;
  const hedges: { pick: PiecePick; late: RequestState }[] = [];
  for (const request of requests) {
    if (hedges.length >= budget) break;
    if (request.peer === undefined || request.isHedged) continue;
    const download = downloads.get(request.digest);
    if (download === undefined) continue;
    const isStalled = nowMs - request.progressMs > options.peerStallMs;
    const usual = usualMs(request.count * download.plan.pieceBytes);
    const isLate = nowMs - request.startedMs > Math.max(options.hedgeFactor * usual, minLateMs);
    if (!isStalled && !isLate) continue;
    let first = request.first;
    const end = request.first + request.count;
    while (first < end && download.held.has(first)) first += 1;
    if (first === end) continue;
    const supplier = otherHolder(download, first, peers, nowMs, random, options);
    if (supplier === undefined) continue;
    hedges.push({ pick: { download, peer: supplier, first, count: 1 }, late: request });
  }
  return hedges;
}

// Below this a second request costs more than it can save.
const minLateMs = 1_000;

function otherHolder(
  download: DownloadState,
  piece: number,
  peers: ReadonlyMap<PeerId, PeerState>,
  nowMs: number,
  random: Random,
  options: ScheduleOptions,
): PeerId | undefined {
  let best: PeerId | undefined;
  let bestWait = Number.POSITIVE_INFINITY;
  for (const member of download.members.values()) {
    if (!member.have.has(piece)) continue;
    const state = peers.get(member.peer);
    if (!isUsable(state, nowMs) || state.requests.size >= options.maxRequestsPerPeer) continue;
    if ([...(download.flights.get(piece) ?? [])].some((flight) => flight.peer === member.peer)) continue;
    const wait = (state.inFlightBytes + 1) / (state.rateBytesPerSecond ?? 1) + random.next() / 1e6;
    if (wait < bestWait) {
      bestWait = wait;
      best = member.peer;
    }
  }
  return best;
}
