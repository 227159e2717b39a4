import type { Counter, Gauge, Metrics } from '../../telemetry/metrics.ts';

export interface BulkServerMetrics {
  readonly sentBytes: Counter;
  readonly requests: Counter<'outcome'>;
  readonly activeRequests: Gauge;
  readonly refusedConnections: Counter;
}

export function createBulkServerMetrics(metrics: Metrics): BulkServerMetrics {
  return {
    sentBytes: metrics.counter({ name: 'shoal_peer_bulk_sent_bytes_total', help: 'Piece bytes sent to peers.' }),
    requests: metrics.counter({
      name: 'shoal_peer_bulk_served_requests_total',
      help: 'Requests of peers, by outcome.',
      labels: ['outcome'],
    }),
    activeRequests: metrics.gauge({ name: 'shoal_peer_bulk_active_requests', help: 'Runs being sent now.' }),
    refusedConnections: metrics.counter({
      name: 'shoal_peer_bulk_refused_connections_total',
      help: 'Connections closed unserved: no peer ID proved, no member, or too many.',
    }),
  };
}

export interface BulkClientMetrics {
  readonly receivedBytes: Counter;
  readonly fetches: Counter<'outcome'>;
  readonly connections: Counter<'kind'>;
  readonly bufferBytes: Gauge;
}

export function createBulkClientMetrics(metrics: Metrics): BulkClientMetrics {
  return {
    receivedBytes: metrics.counter({
      name: 'shoal_peer_bulk_received_bytes_total',
      help: 'Piece bytes received from peers.',
    }),
    fetches: metrics.counter({
      name: 'shoal_peer_bulk_fetches_total',
      help: 'Runs asked of peers, by outcome.',
      labels: ['outcome'],
    }),
    connections: metrics.counter({
      name: 'shoal_peer_bulk_connections_total',
      help: 'Connections used for runs: dialled or reused.',
      labels: ['kind'],
    }),
    bufferBytes: metrics.gauge({ name: 'shoal_peer_bulk_buffer_bytes', help: 'Piece buffers lent out now.' }),
  };
}
