import type { PeerId } from '../content/peer-id.ts';

/**
 * The control plane: who is connected, and ordered, framed channels to them. Authenticated, encrypted, and closed to everyone who
 * does not know the fleet secret. Channels are long-lived: opening one costs seven times a message.
 * A channel's end never means success: protocols above carry their own lengths and answers.
 */
export interface PeerNetwork {
  readonly self: PeerId;
  /** Addresses others can dial (multiaddr text, with the peer ID). */
  addresses(): readonly string[];
  /** Peers connected now. */
  peers(): readonly ConnectedPeer[];
  findPeer(peer: PeerId): ConnectedPeer | undefined;
  /** Dials `host:port` or a multiaddr; resolves to whom it reached. @throws PEER_UNREACHABLE, PEER_UNTRUSTED */
  dial(address: string, signal: AbortSignal): Promise<PeerId>;
  /** Opens a channel to a peer, dialling a known address if needed. @throws PEER_UNREACHABLE, PEER_STALLED */
  openChannel(peer: PeerId, protocol: string, signal: AbortSignal): Promise<Channel>;
  /** Serves a protocol; the returned function stops serving. */
  handle(protocol: string, accept: (channel: Channel) => void): () => void;
  /** Closes connections to a peer and refuses it for so long. */
  ban(peer: PeerId, forMs: number): void;
  onPeerChange(listener: (change: PeerChange) => void): () => void;
}

export interface ConnectedPeer {
  readonly peer: PeerId;
  /** The address the connection really comes from, without port. */
  readonly host: string;
  readonly connectedAtMs: number;
}

export interface PeerChange {
  readonly kind: 'connected' | 'disconnected';
  readonly peer: PeerId;
}

/** One ordered stream of messages to a peer, both ways. Messages are at most `maxMessageBytes`. */
export interface Channel {
  readonly peer: PeerId;
  readonly isOpen: boolean;
  /** Queues a message; a queue past its bound closes the channel instead of growing. @throws PEER_OVERFLOW, PEER_CUT */
  send(message: Uint8Array): void;
  /** Yields messages until either side closes; may be walked once. A flood past the bound closes the channel. */
  messages(): AsyncIterable<Uint8Array>;
  close(): void;
  onClose(listener: () => void): void;
}

/** 1000 sha512 digests and some; every protocol splits larger batches. */
export const maxMessageBytes = 128 * 1024;
