import type { PeerId } from '../content/peer-id.ts';
import type { Member } from '../discovery/membership.ts';
import type { SwarmPeer } from '../swarm/swarm.ts';
import type { PeersAnswer } from './api.ts';

/** Joins what membership and swarm know of each peer; a member the swarm has not met yet has moved no bytes. */
export function listPeers(met: readonly SwarmPeer[], members: readonly Member[]): PeersAnswer['peers'] {
  const byPeer = new Map<PeerId, PeersAnswer['peers'][number]>();
  for (const { peer, isConnected } of members) {
    byPeer.set(peer, {
      peer,
      isConnected,
      receivedBytes: 0,
      sentBytes: 0,
      rateBytesPerSecond: 0,
      rejectedPieces: 0,
    });
  }
  for (const swarmPeer of met) byPeer.set(swarmPeer.peer, swarmPeer);
  // Membership knows better than the swarm who is connected now.
  for (const member of members) byPeer.set(member.peer, { ...(byPeer.get(member.peer) as SwarmPeer), ...member });
  return [...byPeer.values()];
}
