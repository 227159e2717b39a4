import type { Metrics } from '../telemetry/metrics.ts';

/** From a warm answer of a millisecond to a cold blob whose origin is slow to begin. */
const secondsBuckets = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];

export function createRegistryMetrics(metrics: Metrics) {
  return {
    requests: metrics.counter<'route' | 'method' | 'status'>({
      name: 'shoal_registry_requests_total',
      help: 'Requests answered, by what they asked for, method and status; "cut" = ended without a whole answer.',
      labels: ['route', 'method', 'status'],
    }),
    requestSeconds: metrics.histogram<'route'>({
      name: 'shoal_registry_request_seconds',
      help: 'Time from the head of a request to the end of its answer.',
      labels: ['route'],
      buckets: secondsBuckets,
    }),
    firstByteSeconds: metrics.histogram<'source'>({
      name: 'shoal_registry_first_byte_seconds',
      help: 'Time from the head of a request for a blob to the first byte of its body, by source: local or swarm.',
      labels: ['source'],
      buckets: secondsBuckets,
    }),
    sentBytes: metrics.counter<'source'>({
      name: 'shoal_registry_sent_bytes_total',
      help: 'Bytes of blobs sent to clients, by source: local or swarm.',
      labels: ['source'],
    }),
    connections: metrics.gauge({
      name: 'shoal_registry_connections_count',
      help: 'Client connections open now.',
    }),
    refusedConnections: metrics.counter<'reason'>({
      name: 'shoal_registry_refused_connections_total',
      help: 'Connections closed for their own fault: full (too many), broken (not HTTP), slow (head or body too late), flood (too many requests ahead of their answers).',
      labels: ['reason'],
    }),
  };
}

export type RegistryMetrics = ReturnType<typeof createRegistryMetrics>;
