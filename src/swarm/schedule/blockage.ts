import type { PeerId } from '../../content/peer-id.ts';
import type { ScheduleOptions } from './options.ts';
import { type DownloadState, flightsOf } from './state.ts';

/** An origin that failed once is asked once more before a client without a piece hears of it: many clients do not ask twice. */
const forgivenFailures = 1;

/**
 * Tells whether a download can get on: undefined while something is in flight, a usable holder exists, or somebody is at the
 * origin or may still ask it. Pure.
 */
export function findBlockage(
  download: DownloadState,
  self: PeerId,
  nowMs: number,
  options: ScheduleOptions,
): { missingPieces: number } | undefined {
  if (download.held.isFull) return undefined;
  const isOriginHopeful = download.originFailures <= forgivenFailures;
  if (download.canAskOrigin && isOriginHopeful) return undefined;
  let missingPieces = 0;
  for (let piece = 0; piece < download.plan.pieceCount; piece += 1) {
    if (download.held.has(piece)) continue;
    for (const flight of flightsOf(download, piece)) {
      // An origin that has failed and sends nothing gives no hope, however often it is asked.
      if (flight.peer !== undefined || flight.receivedBytes > 0 || isOriginHopeful) return undefined;
    }
    if ((download.availability[piece] ?? 0) === 0) missingPieces += 1;
  }
  if (missingPieces === 0) return undefined;
  if (download.isSelfReliant) return { missingPieces };
  for (const extent of download.extents) {
    for (const [peer, claim] of extent.claims) {
      if (peer !== self && nowMs - claim.progressMs < options.originStallMs) return undefined;
    }
  }
  return { missingPieces };
}
