import type { PeerId } from '../../content/peer-id.ts';
import { mayTakeBack } from './late-turns.ts';
import type { ScheduleOptions } from './options.ts';
import { isBetter } from './rendezvous.ts';
import { type DownloadState, extentsOf, type RequestState } from './state.ts';

/**
 * Which of this node's requests to the origin stop because another has begun the same: of two the one that stands still, or else the lower in
 * rank. Nobody stops for one that is late or mute, or from whom it took its own turn back. Pure.
 */
export function turnsToYield(
  self: PeerId,
  download: DownloadState,
  requests: Iterable<RequestState>,
  { peer, extent }: { readonly peer: PeerId; readonly extent: number },
  nowMs: number,
  options: ScheduleOptions,
): number[] {
  const member = download.members.get(peer);
  if (member === undefined || member.isMute || member.lateUntilMs > nowMs) return [];
  if (mayTakeBack(self, download, extent, peer, nowMs, options)) return [];
  const stopped: number[] = [];
  for (const request of requests) {
    if (request.digest !== download.digest || request.peer !== undefined) continue;
    if (!download.isOriginWhole && !extentsOf(download, request).includes(extent)) continue;
    const isStalled = nowMs - request.progressMs > options.originStallMs;
    if (isStalled || isBetter(peer, self, download.digest, download.isOriginWhole ? 0 : extent))
      stopped.push(request.id);
  }
  return stopped;
}
