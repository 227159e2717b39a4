import type { Counter, Gauge, Metrics } from '../telemetry/metrics.ts';

export interface PeerMetrics {
  readonly connectedPeers: Gauge;
  readonly greetings: Counter<'outcome'>;
  readonly silentDeaths: Counter;
  readonly channelMessages: Counter<'direction'>;
  readonly channelBytes: Counter<'direction'>;
  readonly channelOverflows: Counter;
}

export function createPeerMetrics(metrics: Metrics): PeerMetrics {
  return {
    connectedPeers: metrics.gauge({ name: 'shoal_peer_connected_peers', help: 'Peers that passed the hello.' }),
    greetings: metrics.counter({
      name: 'shoal_peer_greetings_total',
      help: 'Connections that reached the hello, by outcome.',
      labels: ['outcome'],
    }),
    silentDeaths: metrics.counter({
      name: 'shoal_peer_silent_deaths_total',
      help: 'Connections cut because the peer went silent.',
    }),
    channelMessages: metrics.counter({
      name: 'shoal_peer_channel_messages_total',
      help: 'Messages on channels.',
      labels: ['direction'],
    }),
    channelBytes: metrics.counter({
      name: 'shoal_peer_channel_bytes_total',
      help: 'Payload bytes on channels.',
      labels: ['direction'],
    }),
    channelOverflows: metrics.counter({
      name: 'shoal_peer_channel_overflows_total',
      help: 'Channels closed because their send queue was full.',
    }),
  };
}
