import type { PeerId } from '../content/peer-id.ts';

/**
 * Finds the fleet and keeps hold of it: static addresses, DNS names with many answers, mDNS. Dials with back-off and jitter for
 * ever; a node that was alone joins as soon as anyone can be reached.
 */
export interface Membership {
  /** Members known now, connected or not. */
  members(): readonly Member[];
  /** Resolves when at least one bootstrap round has ended, whatever came of it. */
  settled(signal: AbortSignal): Promise<void>;
}

export interface Member {
  readonly peer: PeerId;
  readonly isConnected: boolean;
  readonly source: 'static' | 'dns' | 'mdns' | 'inbound' | 'dht';
  readonly addresses: readonly string[];
  readonly lastSeenMs: number;
}
