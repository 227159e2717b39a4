import type { PeerId } from '../content/peer-id.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';

/**
 * What the fleet knows of tags, manifests and sizes, asked of peers directly: the providers the directory named first, then
 * whoever is connected, up to a bound. Manifests come verified; all else is a hint, worth something only while the origin
 * cannot be asked. Nothing here throws for an unreachable or a lying peer: it just gives no answer.
 */
export interface TagHints {
  /** Asks what a tag pointed at when peers last heard it from the origin; in no order. */
  find(repository: Repository, tag: string, providers: readonly PeerId[], signal: AbortSignal): Promise<TagHint[]>;
  /** Fetches a manifest; peers that are fetching it themselves may take `waitMs` to have it. */
  fetchManifest(digest: Digest, query: ManifestQuery, signal: AbortSignal): Promise<PeerManifest | undefined>;
  /** Tells whether a peer gave no answer when it was last asked for a manifest, in the last minute. */
  wasSilent(peer: PeerId): boolean;
  /** Asks how large a blob is. */
  findSize(digest: Digest, providers: readonly PeerId[], signal: AbortSignal): Promise<number | undefined>;
  /** Answers peers from what this node has; the returned function stops that. */
  serve(source: TagSource): () => void;
}

export interface ManifestQuery {
  readonly providers: readonly PeerId[];
  /** Absent = the providers alone are asked, not whoever is connected. */
  readonly includesConnected?: boolean;
  readonly waitMs: number;
}

export interface TagHint {
  readonly peer: PeerId;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** When the peer last heard it from the origin, by the peer's wall clock. */
  readonly confirmedAtMs: number;
}

export interface PeerManifest {
  readonly peer: PeerId;
  /** As the peer has it; the digest does not cover it. */
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** What a node answers its peers from. */
export interface TagSource {
  findTag(repository: Repository, tag: string): Promise<Omit<TagHint, 'peer'> | undefined>;
  /** Reads a manifest held here; one whose fetch from the origin is under way may be waited for, up to `waitMs`. */
  findManifest(
    digest: Digest,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<{ mediaType: string; bytes: Uint8Array } | undefined>;
  findSize(digest: Digest): Promise<number | undefined>;
}
