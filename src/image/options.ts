import type { Platform } from '../oci/descriptor.ts';

export interface ImagesOptions {
  /** A tag confirmed with the origin is served without asking again for this long. */
  readonly tagFreshMs: number;
  /** A tag served stale is served again without asking for this long, so that a dead origin costs its time-out once. */
  readonly staleHoldMs: number;
  /** "No such tag, manifest or blob" is remembered for this long. */
  readonly negativeMs: number;
  readonly negativeEntries: number;
  /** The origin gets this long before what is known already may be served in its place. */
  readonly originPatienceMs: number;
  readonly originTimeouts: OriginTimeouts;
  /** Time for the directory to name providers of a manifest before the origin is asked. */
  readonly directoryTimeoutMs: number;
  /** Another node that is fetching the same manifest may take this long to have it. */
  readonly fleetWaitMs: number;
  /** Every answer that promises existence holds what it names for this long. */
  readonly leaseMs: number;
  /** The images this node's clients run; decides which child of an index is fetched ahead. */
  readonly platform: Platform;
  /** Serving a manifest starts the fetch of what it names. */
  readonly prefetch: boolean;
  /** The same manifest starts fetches at most this often. */
  readonly prefetchRepeatMs: number;
  /** Bytes of manifests kept in memory. */
  readonly manifestCacheBytes: number;
  /** A pull reports the state of its transfers this often. */
  readonly progressMs: number;
}

interface OriginTimeouts {
  readonly tagMs: number;
  readonly manifestMs: number;
  readonly sizeMs: number;
  readonly listMs: number;
}
