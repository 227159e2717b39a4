import type { Directory } from '../discovery/directory.ts';
import type { TagHints } from '../discovery/tag-hints.ts';
import type { Health } from '../health/health.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { Origin } from '../origin/origin.ts';
import type { BlobStore } from '../store/blob-store.ts';
import type { MetadataStore } from '../store/metadata-store.ts';
import type { Swarm } from '../swarm/swarm.ts';
import type { Metrics } from '../telemetry/metrics.ts';

export interface ImagesDeps {
  readonly store: { readonly blobs: BlobStore; readonly metadata: MetadataStore };
  readonly origin: Origin;
  readonly swarm: Swarm;
  readonly directory: Directory;
  readonly tagHints: TagHints;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly health: Health;
}
