import type { PeerId } from '../../content/peer-id.ts';
import { rendezvousWeight } from './rendezvous.ts';
import type { DownloadState, MemberState } from './state.ts';

/**
 * The order in which members take turns at the origin for one blob: all who can, this node among them, by rendezvous weight. Nodes
 * that know the same members compute the same order.
 */
export function turnOrder(self: PeerId, download: DownloadState, nowMs: number): PeerId[] {
  const peers = [self];
  if (!download.isSelfReliant) {
    for (const member of download.members.values()) if (takesTurns(member, nowMs)) peers.push(member.peer);
  }
  const weights = new Map(peers.map((peer) => [peer, rendezvousWeight(peer, download.digest, 0)]));
  return peers.sort((a, b) => (weights.get(b) ?? 0) - (weights.get(a) ?? 0) || (a > b ? -1 : 1));
}

/** How many go before `peer` for this extent; 0 = the owner. A whole-blob stream has one owner for all extents. */
export function rankOf(peer: PeerId, order: readonly PeerId[], download: DownloadState, extent: number): number {
  const at = order.indexOf(peer);
  if (at < 0) return order.length;
  const owner = download.isOriginWhole ? 0 : extent % order.length;
  return (at - owner + order.length) % order.length;
}

export function takesTurns(member: MemberState, nowMs: number): boolean {
  return member.isFetching && member.canAskOrigin && member.passedOverUntilMs <= nowMs;
}
