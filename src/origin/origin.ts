import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';

/**
 * The registries images come from, all of them behind one face; `repository.namespace` picks which.
 * Credentials, tokens, redirects, proxies, retries, limits and the circuit breaker stay inside. Bytes of manifests are checked
 * against their digest here; bytes of blobs by whoever asked, since they arrive in runs. All methods throw `OriginError`.
 */
export interface Origin {
  /** Tells whether requests for a namespace may leave this node. */
  allows(namespace: string): boolean;
  /** Asks what a tag points at, by HEAD (by GET where HEAD does not answer). A known answer makes it a revalidation. */
  resolveTag(repository: Repository, tag: string, options: ResolveTagOptions): Promise<OriginTag>;
  /** Fetches a manifest by digest and verifies it. */
  fetchManifest(repository: Repository, digest: Digest, options: OriginOptions): Promise<OriginManifest>;
  /** Asks for the size of a blob. */
  statBlob(repository: Repository, digest: Digest, options: OriginOptions): Promise<{ sizeBytes: number }>;
  /**
   * Opens a blob's bytes from `start` to `end` (exclusive). A cut is resumed by Range inside, as long as there is progress.
   * The body ends after exactly the promised bytes or throws ORIGIN_CUT. If the origin ignores Range, `isWhole` is true and
   * the body starts at byte 0 of the blob: the caller decides whether to use it.
   */
  openBlob(repository: Repository, digest: Digest, range: ByteRange, options: OriginOptions): Promise<OriginBody>;
  /** Lists a page of tags. */
  listTags(
    repository: Repository,
    page: { limit?: number; last?: string },
    options: OriginOptions,
  ): Promise<OriginTagPage>;
  /** Reports each namespace met so far. */
  status(): readonly OriginStatus[];
}

export interface OriginOptions {
  readonly signal: AbortSignal;
}

export interface ResolveTagOptions extends OriginOptions {
  /** What the tag pointed at before; if its `etag` still holds, this very answer is returned. */
  readonly known?: OriginTag;
  /** Called when the origin failed twice and is about to be asked again: the answer may be long in coming. */
  readonly onTrouble?: () => void;
}

export interface ByteRange {
  readonly start: number;
  readonly end: number;
  /** The blob's size, checked against what the origin says. */
  readonly sizeBytes: number;
}

export interface OriginTag {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly etag?: string;
}

export interface OriginManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

export interface OriginBody {
  readonly isWhole: boolean;
  /** Chunks in order; each is the caller's to keep. Stopping early cancels the request. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

export interface OriginTagPage {
  readonly tags: readonly string[];
  readonly hasMore: boolean;
}

export interface OriginStatus {
  readonly namespace: string;
  readonly url: string;
  readonly state: 'ok' | 'limited' | 'open';
  readonly requests: number;
  readonly failures: number;
  readonly receivedBytes: number;
  readonly retryAtMs?: number;
  readonly lastError?: string;
}
