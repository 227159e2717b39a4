import type { Metrics } from '../telemetry/metrics.ts';

export function createSwarmMetrics(metrics: Metrics) {
  return {
    receivedBytes: metrics.counter<'source'>({
      name: 'shoal_swarm_received_bytes_total',
      help: 'Verified bytes of blobs by where they came from: origin, peer, or local (taken over from an earlier life of the download)',
      labels: ['source'],
    }),
    sentBytes: metrics.counter({ name: 'shoal_swarm_sent_bytes_total', help: 'Bytes of pieces sent to peers' }),
    downloads: metrics.counter<'result'>({
      name: 'shoal_swarm_downloads_total',
      help: 'Downloads that ended: complete, failed',
      labels: ['result'],
    }),
    downloadSeconds: metrics.histogram({
      name: 'shoal_swarm_download_seconds',
      help: 'Time from the first request for a blob to its commit',
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300],
    }),
    activeDownloads: metrics.gauge({ name: 'shoal_swarm_active_downloads', help: 'Downloads under way' }),
    requests: metrics.counter<'target' | 'outcome'>({
      name: 'shoal_swarm_requests_total',
      help: 'Requests for runs of pieces that ended, by target (origin, peer) and outcome',
      labels: ['target', 'outcome'],
    }),
    hedges: metrics.counter({ name: 'shoal_swarm_hedges_total', help: 'Second requests for late pieces' }),
    rejectedPieces: metrics.counter<'reason'>({
      name: 'shoal_swarm_rejected_pieces_total',
      help: 'Pieces refused before they were written: hash, signature, banned_signer',
      labels: ['reason'],
    }),
    bans: metrics.counter({ name: 'shoal_swarm_bans_total', help: 'Peers banned with evidence' }),
    refusedUploads: metrics.counter<'reason'>({
      name: 'shoal_swarm_refused_uploads_total',
      help: 'Requests of peers that were refused: busy, absent, banned',
      labels: ['reason'],
    }),
    uploadsWaiting: metrics.gauge({
      name: 'shoal_swarm_uploads_waiting',
      help: 'Requests of peers that wait for an upload slot',
    }),
  };
}

export type SwarmMetrics = ReturnType<typeof createSwarmMetrics>;
