import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';

/**
 * Everything mutable, behind atomic batches so that another ACID store can take its place.
 * Reference edges are the truth, counts are derived: manifest -> child, tag -> manifest, repository link, subject, pin, lease.
 * Each method that writes is one atomic, durable batch. Edges are idempotent. A lease keeps its blobs from being collected until
 * it expires; every answer that promises existence takes one.
 */
export interface MetadataStore {
  /** Records a manifest in a repository with its edges: repository link, children, subject. The bytes are a blob by digest. */
  putManifest(repository: Repository, manifest: ManifestRecord): Promise<void>;
  findManifest(repository: Repository, digest: Digest): Promise<ManifestRecord | undefined>;
  /** Finds the manifest in whatever repository it is known, so that a digest fetched through one name serves another. */
  findManifestAnywhere(digest: Digest): Promise<ManifestRecord | undefined>;
  /** Points a tag at a manifest, or refreshes what is known about it. */
  putTag(repository: Repository, tag: string, record: TagRecord): Promise<void>;
  findTag(repository: Repository, tag: string): Promise<TagRecord | undefined>;
  deleteTag(repository: Repository, tag: string): Promise<void>;
  /** Lists the tags of a repository in lexical order, after `last`, at most `limit`. */
  listTags(repository: Repository, options: { last?: string; limit: number }): Promise<string[]>;
  /** Lists repositories in order. */
  listRepositories(options: { last?: Repository; limit: number }): Promise<Repository[]>;
  /** Walks all manifests of a repository. */
  walkManifests(repository: Repository): AsyncIterable<ManifestRecord>;
  /** Finds which repository a blob was named in, and its descriptor; used to fetch a blob again that was lost. */
  findParents(digest: Digest): Promise<ParentEdge[]>;
  /** Takes or extends a lease on digests; coalesced, so cheap to call on every answer. */
  lease(owner: string, digests: readonly Digest[], expiresAtMs: number): Promise<void>;
  /** Ends leases whose time has passed; returns how many. */
  expireLeases(nowMs: number): Promise<number>;
  /** Lists every edge that holds a digest. Empty = may be collected. */
  listEdges(digest: Digest): Promise<ReferenceEdge[]>;
  /** Counts the edges of a digest from the derived counter; equals `listEdges().length`. */
  countEdges(digest: Digest): Promise<number>;
}

export interface ManifestRecord {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly children: readonly Descriptor[];
  readonly subject?: Digest;
  readonly artifactType?: string;
  /** `cache` came from an origin or a peer and may be evicted, `local` was pushed here and may not. */
  readonly provenance: 'cache' | 'local';
  readonly storedAtMs: number;
}

export interface TagRecord {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** When the origin last confirmed it (wall clock). */
  readonly confirmedAtMs: number;
  readonly etag?: string;
}

export interface ParentEdge {
  readonly repository: Repository;
  readonly manifest: Digest;
  readonly descriptor: Descriptor;
}

export interface ReferenceEdge {
  readonly kind: 'child' | 'tag' | 'repository' | 'subject' | 'pin' | 'lease';
  readonly owner: string;
}
