import type { TransferWait } from '../swarm.ts';
import type { ScheduleOptions } from './options.ts';
import type { DownloadState, RequestState } from './state.ts';

/**
 * Says what a download waits for. While something moves: pieces that members hold and nobody has been asked for yet mean that the
 * links between nodes are the bound; when all of those are on their way and others are held by nobody, it is the origin, whichever
 * node asks it. Pure.
 */
export function findWait(download: DownloadState, nowMs: number, options: ScheduleOptions): TransferWait {
  const flights = new Set<RequestState>();
  let askedOfPeers = 0;
  for (const [piece, requests] of download.flights) {
    if (download.held.has(piece)) continue;
    let isAsked = false;
    for (const request of requests) {
      flights.add(request);
      isAsked ||= request.peer !== undefined;
    }
    if (isAsked) askedOfPeers += 1;
  }
  const { unheld } = download;
  const heldByMembers = download.supplied.size;
  if (flights.size === 0) return waitWithoutRequests(download, unheld, heldByMembers, nowMs, options);

  let quietest: RequestState | undefined;
  let isMoving = false;
  for (const request of flights) {
    if (nowMs - request.progressMs <= quietMs) isMoving = true;
    else if (quietest === undefined || request.progressMs < quietest.progressMs) quietest = request;
  }
  if (!isMoving && quietest !== undefined)
    return quietest.peer === undefined ? { for: 'silentOrigin' } : { for: 'silentPeer', peer: quietest.peer };
  const isOriginAsked = [...flights].some((request) => request.peer === undefined);
  if (heldByMembers > askedOfPeers && !isOriginAsked) return { for: 'peers' };
  if (heldByMembers > askedOfPeers + spareRun) return { for: 'peers' };
  if (unheld === 0) return { for: 'peers' };
  // Asked again after a failure, it has not sent a byte yet.
  const isAnswering = download.originFailures === 0 || [...flights].some((request) => request.receivedBytes > 0);
  return { for: isAnswering ? 'origin' : 'silentOrigin' };
}

// A person would not call less than this a stall.
const quietMs = 500;
// Pieces that have just come up and will be asked for with the next decision.
const spareRun = 2;

function waitWithoutRequests(
  download: DownloadState,
  unheld: number,
  heldByMembers: number,
  nowMs: number,
  options: ScheduleOptions,
): TransferWait {
  if (heldByMembers > 0) return { for: 'queue' };
  if (nowMs < download.originNotBeforeMs) return { for: download.originFailures > 0 ? 'silentOrigin' : 'directory' };
  let isClaimed = false;
  let isDue = false;
  for (const extent of download.extents) {
    if (extent.unheld === 0) continue;
    isDue ||= extent.dueSinceMs !== undefined;
    for (const claim of extent.claims.values()) {
      if (nowMs - claim.progressMs < options.originStallMs) return { for: 'origin' };
      isClaimed = true;
    }
  }
  if (isClaimed) return { for: 'silentOrigin' };
  const mayBeAsked = download.canAskOrigin || [...download.members.values()].some((member) => member.canAskOrigin);
  if (unheld > 0 && !mayBeAsked) return { for: 'nobody' };
  if (!isDue) return { for: 'queue' };
  return { for: download.originFailures > 0 ? 'silentOrigin' : 'origin' };
}
