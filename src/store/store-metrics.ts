import type { Metrics } from '../telemetry/metrics.ts';

export type StoreMetrics = ReturnType<typeof createStoreMetrics>;

/** Creates the metrics of the store. */
export function createStoreMetrics(metrics: Metrics) {
  return {
    blobs: metrics.gauge({ name: 'shoal_store_blobs', help: 'Complete blobs held.' }),
    blobBytes: metrics.gauge({ name: 'shoal_store_blob_bytes', help: 'Bytes of complete blobs held.' }),
    ingests: metrics.gauge({ name: 'shoal_store_ingests', help: 'Unfinished ingests on disk, open or left.' }),
    commits: metrics.counter<'result'>({
      name: 'shoal_store_commits_total',
      help: 'Blobs made complete: stored, present (it was there already) or failed.',
      labels: ['result'],
    }),
    quarantined: metrics.counter({
      name: 'shoal_store_quarantined_total',
      help: 'Blobs found corrupt and put aside.',
    }),
    adopted: metrics.counter({
      name: 'shoal_store_adopted_total',
      help: 'Blob files without a record that were hashed and taken over at start.',
    }),
    syncSeconds: metrics.histogram({
      name: 'shoal_store_fsync_seconds',
      help: 'Time until the data of one blob was on the disk.',
      // From a cached SSD flush to a spinning disk with a gigabyte to write.
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    }),
  };
}
