import type { Config } from '../../config/schema.ts';
import type { ListenAddress } from '../../config/values.ts';
import { decideListenHost } from '../../peer/libp2p/fleet.ts';
import type { Libp2pNetworkOptions } from '../../peer/libp2p/libp2p-network.ts';
import type { BulkClientOptions } from '../../peer/tls/bulk-client.ts';
import type { BulkServerOptions } from '../../peer/tls/bulk-server.ts';
import type { TlsChannelsOptions } from '../../peer/tls/tls-channels.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

/** Without a fleet secret anyone who reaches a peer port would be a member: it binds loopback, whatever was asked for. */
function peerListenAddress(asked: ListenAddress, hasSecret: boolean): ListenAddress {
  return { host: decideListenHost(asked.host, hasSecret).host, port: asked.port };
}

/** For channels of either plane. */
const channelOptions = {
  closeTimeoutMs: 5_000,
  // Eight of the largest messages: a burst of announcements fits, a peer that does not read is dropped.
  maxSendQueueBytes: 1 * MiB,
  maxReceiveQueueBytes: 512 * KiB,
};

export const tlsChannelsOptions: TlsChannelsOptions = { ...channelOptions, dialTimeoutMs: 5_000 };

/** The control plane, but for its services. */
export function networkOptions(
  config: Config,
  fleetSecret: string | undefined,
  version: string,
): Omit<Libp2pNetworkOptions<Record<never, never>>, 'services'> {
  return {
    listen: peerListenAddress(config.peer.listen, fleetSecret !== undefined),
    ...(fleetSecret === undefined ? {} : { fleetSecret: Buffer.from(fleetSecret) }),
    ...(config.peer.announce.length === 0 ? {} : { announceAddresses: config.peer.announce }),
    version,
    maxConnections: config.peer.maxConnections,
    // Joining a fleet of hundreds takes some rounds of these; more would look like an attack to the others.
    maxParallelDials: 20,
    dialTimeoutMs: 10_000,
    helloTimeoutMs: 10_000,
    // A dead peer is noticed within a minute; its transfers are noticed by their own stall long before.
    pingIntervalMs: 20_000,
    silentIntervals: 3,
    ...channelOptions,
    // One for the directory, one for tags, two for the swarm, and as many again while they are being replaced.
    maxChannelsPerPeer: 8,
  };
}

export function bulkClientOptions(config: Config): BulkClientOptions {
  return {
    dialTimeoutMs: 5_000,
    headersTimeoutMs: 5_000,
    stallTimeoutMs: config.swarm.stallTimeout,
    // As many as requests run to one peer, and one to spare for a hedge.
    maxConnectionsPerPeer: 4,
    maxIdleConnections: 64,
    // About 50 KiB at each end; a pull that begins with all its members has its handshakes behind it.
    maxKeptConnections: 16,
    // Below the server's 60 s, so that a request never meets a connection that is just being closed.
    idleMs: 30_000,
    bufferBytes: config.swarm.bufferBytes,
    bufferIdleMs: 10_000,
  };
}

export function bulkServerOptions(config: Config, hasSecret: boolean): BulkServerOptions {
  return {
    listen: peerListenAddress(config.peer.bulkListen, hasSecret),
    // A channel, and two connections for pieces; up to four for moments.
    maxConnections: 3 * config.peer.maxConnections,
    // Four requests, a channel, and what is being replaced.
    maxConnectionsPerPeer: 8,
    // The round trip that the other side's admission may still take, with room for a busy moment.
    admissionGraceMs: 2_000,
    // A fleet that starts at once has its handshakes behind it in moments; half is for members in the smallest fleet too.
    maxUnproved: Math.min(256, Math.ceil(1.5 * config.peer.maxConnections)),
    maxUnprovedPerHost: 64,
    // Slots are the swarm's to give; here is only the bound against a flood of requests that wait for one.
    maxRequests: 2 * config.swarm.uploadSlots,
    maxRequestsPerPeer: 4,
    // One TLS record is 16 KiB; 256 KiB keeps system calls rare. A peer that takes less in `stallTimeoutMs` counts as standing still.
    chunkBytes: 256 * KiB,
    handshakeTimeoutMs: 5_000,
    headersTimeoutMs: 10_000,
    keepAliveMs: 60_000,
    stallTimeoutMs: config.swarm.stallTimeout,
    // 4 MiB at 16 KiB/s: who is slower than that is better served by the origin.
    transferTimeoutMs: 300_000,
    retryAfterMs: 500,
    bufferIdleMs: 10_000,
  };
}
