import type { Metrics } from '../telemetry/metrics.ts';
import { type Transfer, waitKinds } from './swarm.ts';

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
    phaseSeconds: metrics.histogram<'phase'>({
      name: 'shoal_swarm_phase_seconds',
      help: 'Time of finished downloads by phase: providers (until the directory answered), first_piece, last_piece, verified, committed; each from the end of the one before',
      labels: ['phase'],
      buckets: [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    }),
    waitedSeconds: metrics.counter<'for'>({
      name: 'shoal_swarm_waited_seconds_total',
      help: `Time of downloads that ended by what they waited for: ${waitKinds.join(', ')}`,
      labels: ['for'],
    }),
    stalls: metrics.counter({ name: 'shoal_swarm_stalls_total', help: 'Requests to peers that stood still' }),
    mismatches: metrics.counter({
      name: 'shoal_swarm_digest_mismatches_total',
      help: 'Blobs of which all pieces were there and the digest was wrong',
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

const phases = [
  ['providers', 'providers'],
  ['firstPiece', 'first_piece'],
  ['lastPiece', 'last_piece'],
  ['verified', 'verified'],
  ['committed', 'committed'],
] as const;

/**
 * Counts a transfer that has ended, but for what was counted when an `earlier` attempt of it ended. Bytes from origin and peers were counted as
 * they came.
 */
export function countTransfer(metrics: SwarmMetrics, transfer: Transfer, earlier?: Transfer): void {
  const { state, phasesMs } = transfer;
  const localBytes = transfer.bytes.local - (earlier?.bytes.local ?? 0);
  const stalls = transfer.stalls - (earlier?.stalls ?? 0);
  const mismatches = transfer.mismatches - (earlier?.mismatches ?? 0);
  metrics.downloads.add(1, { result: state === 'complete' ? 'complete' : 'failed' });
  if (localBytes > 0) metrics.receivedBytes.add(localBytes, { source: 'local' });
  if (stalls > 0) metrics.stalls.add(stalls);
  if (mismatches > 0) metrics.mismatches.add(mismatches);
  for (const kind of waitKinds) {
    const ms = (transfer.waitedMs[kind] ?? 0) - (earlier?.waitedMs[kind] ?? 0);
    if (ms > 0) metrics.waitedSeconds.add(ms / 1000, { for: kind });
  }
  if (state !== 'complete') return;
  metrics.downloadSeconds.observe((phasesMs['committed'] ?? 0) / 1000);
  let beforeMs = 0;
  for (const [mark, phase] of phases) {
    const atMs = phasesMs[mark];
    if (atMs === undefined) continue;
    // The first piece may come before the directory has answered everything.
    metrics.phaseSeconds.observe(Math.max(0, atMs - beforeMs) / 1000, { phase });
    beforeMs = Math.max(beforeMs, atMs);
  }
}
