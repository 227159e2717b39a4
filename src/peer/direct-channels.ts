import type { PeerId } from '../content/peer-id.ts';
import type { BulkAddress } from './bulk.ts';
import type { Channel } from './peer-network.ts';

/**
 * Channels on the bulk plane, for what is said often: a message over TLS costs a quarter of one over libp2p (ADR 0011). Same identity,
 * same bounds and same meaning as the channels of `PeerNetwork`, which come first: only peers with a session have them, and that
 * session is what notices a peer that is dead.
 */
export interface DirectChannels {
  /**
   * Opens a channel to a peer whose bulk address it told itself.
   * @throws PEER_UNREACHABLE, PEER_UNTRUSTED, PEER_STALLED
   */
  open(peer: PeerId, address: BulkAddress, signal: AbortSignal): Promise<Channel>;
  /** Takes the channels that peers open; without a taker they are closed. The returned function stops taking. */
  handle(accept: (channel: Channel) => void): () => void;
}
