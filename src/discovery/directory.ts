import type { PeerId } from '../content/peer-id.ts';
import type { Digest } from '../oci/digest.ts';

/**
 * Who has what. Every digest has trackers: the r nodes closest to it by XOR in the routing table. Records are hints with one lease
 * per announcing peer: a stale one costs one quick refusal. What this node announced is kept announced (re-sent to new
 * trackers, after a restart of a tracker, and before the lease ends) until withdrawn.
 */
export interface Directory {
  /**
   * Records what this node holds or fetches and returns who else does of what it fetches, in one round trip per tracker, batched over digests.
   * Answers of the trackers that came in time; an unreachable tracker is no error. Never includes this node.
   */
  announce(entries: readonly Announcement[], signal: AbortSignal): Promise<ReadonlyMap<Digest, readonly Provider[]>>;
  /** Asks without recording anything. */
  find(digests: readonly Digest[], signal: AbortSignal): Promise<ReadonlyMap<Digest, readonly Provider[]>>;
  /** Takes back what was announced. */
  withdraw(digests: readonly Digest[], signal: AbortSignal): Promise<void>;
  /** Told of each provider once that a tracker names while this node fetches a digest: in an answer as soon as it comes, or pushed. */
  onProvider(listener: (digest: Digest, provider: Provider) => void): () => void;
  /** Announces an image root through kad-dht's own provide as well, so that any kad-dht peer finds it; repeated by itself. */
  publishRoot(digest: Digest): void;
}

export type Holding = 'fetching' | 'complete';

export interface Announcement {
  readonly digest: Digest;
  readonly holding: Holding;
}

export interface Provider {
  readonly peer: PeerId;
  readonly holding: Holding;
  /** Order of arrival at the tracker, lowest first; all who ask one tracker see the same order. */
  readonly rank: number;
}
