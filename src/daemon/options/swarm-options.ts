import type { Config } from '../../config/schema.ts';
import type { SwarmOptions } from '../../swarm/options.ts';

/**
 * The exchange between nodes. What is here and no key of the configuration has its figure from the simulator and the fleet bench
 * (bench/simulate.ts, bench/results), and should be the same on every node.
 */
export function swarmOptions(config: Config, bulkPort: number): SwarmOptions {
  const { swarm } = config;
  const announced = config.peer.bulkAnnounce;
  return {
    schedule: {
      maxRequests: 8,
      maxRequestsPerPeer: 2,
      maxSuppliers: 8,
      // Leaves room in the buffers for what is being verified and written.
      maxInFlightBytes: Math.floor((swarm.bufferBytes * 2) / 3),
      readerWindowPieces: 8,
      originWindowExtents: 8,
      originWindowStartExtents: 3,
      takeoverMs: 1_500,
      originStallMs: 3_000,
      peerStallMs: 2_000,
      hedgeFactor: 4,
    },
    bulkPort: announced?.port ?? bulkPort,
    ...(announced === undefined || isWildcard(announced.host) ? {} : { bulkHost: announced.host }),
    zone: config.fleet.zone ?? '',
    uploadSlots: swarm.uploadSlots,
    uploadWaiting: 2,
    uploadRetryAfterMs: 50,
    uploadBytesPerSecond: swarm.uploadBytesPerSecond,
    downloadBytesPerSecond: swarm.downloadBytesPerSecond,
    // A bound for overloaded nodes: trackers usually answer within milliseconds, and what comes later is pushed.
    directoryTimeoutMs: 2_000,
    // Longer than the starts of one pull on many nodes lie apart, short against a client's patience.
    settleMs: 40,
    settleMaxMs: 2_000,
    patienceMs: swarm.patience,
    resumeForMs: swarm.resumeFor,
    // Long enough to make lying useless, short enough that a mended node is welcome again by itself.
    banMs: 3_600_000,
  };
}

/** What a port without a host is read as. */
function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}
