import type { Member } from '../../discovery/membership.ts';
import type { HealthCondition } from '../../health/health.ts';
import type { ImageSummary, PullProgress } from '../../image/images.ts';
import type { OriginStatus } from '../../origin/origin.ts';
import type { StoreUsage } from '../../store/blob-store.ts';
import type { SwarmPeer, Transfer } from '../../swarm/swarm.ts';

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

export interface TransfersAnswer {
  readonly transfers: readonly Transfer[];
}

export interface PeersAnswer {
  readonly peers: readonly (SwarmPeer & Partial<Member>)[];
}

export interface ImagesAnswer {
  readonly images: readonly ImageSummary[];
}

export type PullLine =
  | PullProgress
  | { readonly kind: 'failed'; readonly error: { readonly code: string; readonly message: string } };
