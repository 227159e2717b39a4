import type { PeerId } from '../../content/peer-id.ts';
import type { ScheduleOptions } from './options.ts';
import { type DownloadState, flightsOf, type MemberState, type PeerState } from './state.ts';
import { keepsRefusing } from './supply.ts';

/** An origin that failed once is asked once more before a client without a piece hears of it: many clients do not ask twice. */
const forgivenFailures = 1;

/**
 * Tells whether a download can get on: undefined while something comes or may, because a holder is asked that answers with pieces, or
 * because somebody is at the origin or may still ask it. Pure.
 */
export function findBlockage(
  download: DownloadState,
  self: PeerId,
  peers: ReadonlyMap<PeerId, PeerState>,
  nowMs: number,
  options: ScheduleOptions,
): { missingPieces: number } | undefined {
  if (download.held.isFull) return undefined;
  const isOriginHopeful = download.originFailures <= forgivenFailures;
  if (download.canAskOrigin && isOriginHopeful) return undefined;
  const givers = listGivers(download, peers, nowMs);
  let missingPieces = 0;
  for (let piece = 0; piece < download.plan.pieceCount; piece += 1) {
    if (download.held.has(piece)) continue;
    for (const flight of flightsOf(download, piece)) {
      // Who has failed and sends nothing gives no hope, however often it is asked.
      const isHopeful = flight.peer === undefined ? isOriginHopeful : !isVain(peers.get(flight.peer), nowMs);
      if (isHopeful || flight.receivedBytes > 0) return undefined;
    }
    if (!givers.some((member) => member.have.has(piece))) missingPieces += 1;
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

function listGivers(download: DownloadState, peers: ReadonlyMap<PeerId, PeerState>, nowMs: number): MemberState[] {
  return [...download.members.values()].filter((member) => !isVain(peers.get(member.peer), nowMs));
}

/** It lets every request wait, or refuses it. */
function isVain(peer: PeerState | undefined, nowMs: number): boolean {
  return peer !== undefined && (peer.muteSinceMs !== undefined || keepsRefusing(peer, nowMs));
}
