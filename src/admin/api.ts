import type { Member } from '../discovery/membership.ts';
import type { HealthCondition } from '../health/health.ts';
import type { ImageSummary, PullProgress } from '../image/images.ts';
import type { Digest } from '../oci/digest.ts';
import type { OriginStatus } from '../origin/origin.ts';
import type { StoreUsage } from '../store/blob-store.ts';
import type { SwarmPeer, Transfer } from '../swarm/swarm.ts';
import type { Explanation } from './explain.ts';

/** The JSON of the admin API: what the server writes and the command line reads. */

/** `GET /api/v1/status` */
export interface StatusAnswer {
  readonly version: string;
  readonly peer: string;
  readonly startedAtMs: number;
  readonly isReady: boolean;
  readonly conditions: readonly HealthCondition[];
  readonly store: StoreUsage;
  readonly peers: { readonly connected: number; readonly known: number };
  readonly origins: readonly OriginStatus[];
}

/** `GET /readyz`, with status 200 or 503 */
export interface ReadyAnswer {
  readonly isReady: boolean;
  readonly conditions: readonly HealthCondition[];
}

/** `GET /api/v1/transfers` */
export interface TransfersAnswer {
  readonly transfers: readonly Transfer[];
}

/** `GET /api/v1/peers`: members of the fleet and what the swarm knows of them. */
export interface PeersAnswer {
  readonly peers: readonly (SwarmPeer & Partial<Member>)[];
}

/** `GET /api/v1/explain?reference=...&platform=...`: why the latest pull of an image took as long as it did. */
export interface ExplainAnswer {
  /** Of the manifest the reference names. */
  readonly digest: Digest;
  readonly explanation: Explanation;
  /** The blobs that were fetched in that pull, in the order of the manifest. */
  readonly blobs: readonly { readonly transfer: Transfer; readonly explanation: Explanation }[];
  /** Blobs of the image that were here before, or whose transfer is forgotten. */
  readonly heldBefore: readonly { readonly digest: Digest; readonly sizeBytes: number }[];
}

/** `GET /api/v1/images` */
export interface ImagesAnswer {
  readonly images: readonly ImageSummary[];
}

/** `POST /api/v1/pull` */
export interface PullOrder {
  /** As docker writes it: [host/]name[:tag][@digest]. */
  readonly reference: string;
  /** `os/architecture[/variant]`, or `all`; absent = that of the node. */
  readonly platform?: string;
}

/** The answer to a pull: one a line, the last is `done` or `failed`. */
export type PullLine = PullProgress | { readonly kind: 'failed'; readonly error: ApiError };

/** The body of every answer that is an error. */
export interface ErrorAnswer {
  readonly error: ApiError;
}

export interface ApiError {
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
}
