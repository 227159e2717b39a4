import type { Member } from '../../discovery/membership.ts';
import type { SwarmPeer, Transfer } from '../../swarm/swarm.ts';

export interface TransfersAnswer {
  readonly transfers: readonly Transfer[];
}

export interface PeersAnswer {
  readonly peers: readonly (SwarmPeer & Partial<Member>)[];
}
