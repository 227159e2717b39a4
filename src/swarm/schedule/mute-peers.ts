import type { ScheduleOptions } from './options.ts';
import { type DownloadState, type PeerState, type RequestState, setMute, usualPieceMs } from './state.ts';

/**
 * Peers that were asked for pieces and send nothing: stopped, cut off, broken, or lying about what they hold. Until a byte comes, what
 * only they hold counts as held by nobody, so that others read it at the origin, and turns there are not left to them. They are
 * asked all the same, for what is not to be had elsewhere and one request at a time: that is how a byte comes. Who is not asked for
 * a minute is believed again.
 */
export function noteMute(
  peers: Iterable<PeerState>,
  downloads: ReadonlyMap<string, DownloadState>,
  usualMs: (bytes: number) => number,
  nowMs: number,
  options: ScheduleOptions,
): void {
  for (const state of peers) {
    if (state.muteSinceMs !== undefined && state.requests.size === 0 && nowMs - state.muteSinceMs > forgottenAfterMs) {
      state.muteSinceMs = undefined;
      state.unserved = 0;
      believe(state, downloads.values(), true);
    }
    let isSilent = false;
    for (const request of state.requests) {
      const silentMs = nowMs - request.progressMs;
      if (silentMs <= options.peerStallMs) continue;
      request.stoodStill = true;
      const patienceMs = silencePatienceMs(request, downloads.get(request.digest), usualMs, options);
      isSilent ||= Math.min(silentMs, nowMs - state.movedMs) > patienceMs;
    }
    if (!isSilent || state.muteSinceMs !== undefined) continue;
    state.muteSinceMs = nowMs;
    believe(state, downloads.values(), false);
  }
}

/**
 * How long who is asked may send nothing. Where all requests take long, silence says little; before it is known how long they take, too. On slow links
 * it may be busy with others for as long as a piece takes, and with the first bytes of this one as long; how slow they are the origin shows first, and where
 * that alone is slow, what peers brought.
 */
export function silencePatienceMs(
  { count }: RequestState,
  download: DownloadState | undefined,
  usualMs: (bytes: number) => number,
  { peerStallMs, hedgeFactor }: ScheduleOptions,
): number {
  if (download === undefined) return peerStallMs;
  const longestMs = Math.max(2 * peerStallMs, 2 * usualPieceMs(download));
  return Math.max(peerStallMs, Math.min(longestMs, hedgeFactor * usualMs(count * download.plan.pieceBytes)));
}

// Who is not asked again cannot show that it sends; with the next pull it may be the only holder.
const forgottenAfterMs = 60_000;

/**
 * It said that it holds something, and that was not so, or not to be had: twice without a byte in between, and its word counts as that of a
 * mute one. An answer is no silence, and who announces the same once more with each would have all others wait for it.
 */
export function noteUnserved(state: PeerState, downloads: Iterable<DownloadState>, nowMs: number, weight = 1): void {
  state.unserved += weight;
  if (state.unserved < doubtedAfter || state.muteSinceMs !== undefined) return;
  state.muteSinceMs = nowMs;
  believe(state, downloads, false);
}

// Once happens to everybody: a connection is cut, a piece found wrong.
const doubtedAfter = 2;
/** Of taking back what it said it held: honest nodes do so a few times while it is found out who signed wrong pieces. */
export const takenBackWeight = 1 / 4;

/** Bytes of a piece came from it. */
export function noteMoving(state: PeerState, downloads: Iterable<DownloadState>, nowMs: number): void {
  state.movedMs = nowMs;
  state.unserved = 0;
  if (state.muteSinceMs === undefined) return;
  state.muteSinceMs = undefined;
  believe(state, downloads, true);
}

function believe({ peer }: PeerState, downloads: Iterable<DownloadState>, isBelieved: boolean): void {
  for (const download of downloads) {
    const member = download.members.get(peer);
    if (member !== undefined) setMute(download, member, !isBelieved);
  }
}
