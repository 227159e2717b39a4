import type { Metrics } from '../telemetry/metrics.ts';

export type DiscoveryMetrics = ReturnType<typeof createDiscoveryMetrics>;

export function createDiscoveryMetrics(metrics: Metrics) {
  return {
    trackerRecords: metrics.gauge({
      name: 'shoal_discovery_tracker_records',
      help: 'Provider records this node keeps as a tracker',
    }),
    trackerPeers: metrics.gauge({
      name: 'shoal_discovery_tracker_peers',
      help: 'Peers with a lease at this tracker',
    }),
    announced: metrics.gauge({
      name: 'shoal_discovery_announced_digests',
      help: 'Digests this node keeps announced',
    }),
    requests: metrics.counter<'kind' | 'result'>({
      name: 'shoal_discovery_requests_total',
      help: 'Requests to trackers by outcome',
      labels: ['kind', 'result'],
    }),
    answerSeconds: metrics.histogram<'kind'>({
      name: 'shoal_discovery_answer_seconds',
      help: 'Time until an announce or find had its answers',
      labels: ['kind'],
      buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3],
    }),
    repairs: metrics.counter<'result'>({
      name: 'shoal_discovery_repairs_total',
      help: 'Comparisons with a tracker of what is announced, by outcome',
      labels: ['result'],
    }),
    pushes: metrics.counter<'direction'>({
      name: 'shoal_discovery_pushed_providers_total',
      help: 'Providers pushed to and by this node',
      labels: ['direction'],
    }),
    protocolErrors: metrics.counter({
      name: 'shoal_discovery_protocol_errors_total',
      help: 'Channels closed because of a message that the protocol does not allow',
    }),
    members: metrics.gauge<'state'>({
      name: 'shoal_discovery_members',
      help: 'Members of the fleet known now',
      labels: ['state'],
    }),
    dials: metrics.counter<'result'>({
      name: 'shoal_discovery_dials_total',
      help: 'Dials of bootstrap addresses and members by outcome',
      labels: ['result'],
    }),
    roots: metrics.gauge({
      name: 'shoal_discovery_published_roots',
      help: 'Image roots kept published through kad-dht',
    }),
    provides: metrics.counter<'result'>({
      name: 'shoal_discovery_provides_total',
      help: 'Image roots published through kad-dht by outcome',
      labels: ['result'],
    }),
  };
}
