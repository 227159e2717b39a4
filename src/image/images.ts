import type { Descriptor, Platform } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';
import type { ManifestRecord } from '../store/metadata-store.ts';
import type { Transfer } from '../swarm/swarm.ts';

/**
 * The use cases of the edges: store first, then swarm, then origin. All methods throw `ImageError` for what a client should be
 * told; anything else is a bug. Serving a manifest starts the fetch of everything it names and leases its children.
 */
export interface Images {
  /** Finds what a tag points at: fresh from the store, else confirmed with the origin, else stale. */
  resolveTag(repository: Repository, tag: string, signal: AbortSignal): Promise<ResolvedTag>;
  openManifest(repository: Repository, digest: Digest, signal: AbortSignal): Promise<OpenedManifest>;
  /** Like `openManifest`, without the bytes and without starting the fetch of the children. */
  statManifest(repository: Repository, digest: Digest, signal: AbortSignal): Promise<ManifestRecord>;
  statBlob(repository: Repository, digest: Digest, signal: AbortSignal): Promise<{ sizeBytes: number }>;
  openBlob(repository: Repository, digest: Digest, signal: AbortSignal): Promise<OpenedBlob>;
  listTags(repository: Repository, page: { limit?: number; last?: string }, signal: AbortSignal): Promise<TagPage>;
  /** Lists the repositories of which something is held here, in order. */
  listRepositories(page: { limit: number; last?: Repository }): Promise<RepositoryPage>;
  /** Lists the manifests held here that are about a digest. */
  listReferrers(repository: Repository, subject: Digest): Promise<readonly Descriptor[]>;
  /** Pulls an image into the store, reporting as it goes. */
  pull(request: PullRequest, signal: AbortSignal): AsyncIterable<PullProgress>;
  listImages(): Promise<readonly ImageSummary[]>;
}

export interface ResolvedTag {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly isStale: boolean;
}

export interface OpenedManifest {
  readonly record: ManifestRecord;
  readonly bytes: Uint8Array;
}

/** A blob that can be read now, complete or still arriving; `open` may be called for several ranges. */
export interface OpenedBlob {
  readonly sizeBytes: number;
  readonly source: 'local' | 'swarm';
  open(range: { start: number; end: number }): Promise<RangeReader>;
}

export interface RangeReader {
  /** Reads at most up to the end of the range; 0 = end. Throws rather than complete on unverified bytes. */
  read(target: Uint8Array, position: number, signal: AbortSignal): Promise<number>;
  close(): Promise<void>;
}

export interface TagPage {
  readonly tags: readonly string[];
  readonly hasMore: boolean;
}

export interface RepositoryPage {
  readonly repositories: readonly Repository[];
  readonly hasMore: boolean;
}

export interface PullRequest {
  readonly repository: Repository;
  readonly reference: { readonly tag: string } | { readonly digest: Digest };
  /** Absent = this node's; 'all' = every platform of an index. */
  readonly platform?: Platform | 'all';
}

export type PullProgress =
  | { readonly kind: 'resolved'; readonly digest: Digest; readonly mediaType: string; readonly isStale: boolean }
  | {
      readonly kind: 'layers';
      readonly layers: readonly {
        readonly digest: Digest;
        readonly sizeBytes: number;
        readonly mediaType: string;
        readonly isLocal: boolean;
      }[];
    }
  | { readonly kind: 'transfer'; readonly transfer: Transfer }
  | {
      readonly kind: 'done';
      readonly digest: Digest;
      readonly totalBytes: number;
      readonly bytes: { readonly origin: number; readonly peer: number; readonly local: number };
      readonly durationMs: number;
    };

export interface ImageSummary {
  readonly repository: Repository;
  readonly tags: readonly string[];
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly heldBytes: number;
  readonly provenance: 'cache' | 'local';
}
