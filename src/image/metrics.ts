import type { Metrics } from '../telemetry/metrics.ts';

export function createImageMetrics(metrics: Metrics) {
  return {
    tags: metrics.counter<'outcome'>({
      name: 'shoal_image_tags_total',
      help: 'Tags asked for, by where the answer came from: fresh, confirmed, stale, hint (of a peer), refused, failed.',
      labels: ['outcome'],
    }),
    manifests: metrics.counter<'source'>({
      name: 'shoal_image_manifests_total',
      help: 'Manifests asked for, by source: local, peer, origin, failed.',
      labels: ['source'],
    }),
    blobs: metrics.counter<'source'>({
      name: 'shoal_image_blobs_total',
      help: 'Blobs opened, by source: local or swarm.',
      labels: ['source'],
    }),
    prefetched: metrics.counter({
      name: 'shoal_image_prefetched_blobs_total',
      help: 'Blobs whose fetch was started because a manifest that names them was served.',
    }),
    healed: metrics.counter({
      name: 'shoal_image_healed_reads_total',
      help: 'Reads of a held blob that failed and went on from the swarm.',
    }),
  };
}

export type ImageMetrics = ReturnType<typeof createImageMetrics>;
