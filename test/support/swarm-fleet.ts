import { createInlinePrefixVerifiers } from '../../src/content/inline-prefix-verifiers.ts';
import type { Directory } from '../../src/discovery/directory.ts';
import { createMemoryDirectoryHub, type MemoryDirectoryHub } from '../../src/discovery/memory/memory-directory.ts';
import { createHealth } from '../../src/health/conditions.ts';
import { seededRandom, systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import type { Origin } from '../../src/origin/origin.ts';
import type { PieceSource } from '../../src/peer/bulk.ts';
import { generateIdentity, type PeerIdentity } from '../../src/peer/identity.ts';
import { createMemoryBulk } from '../../src/peer/memory/memory-bulk.ts';
import { createMemoryDirectChannels } from '../../src/peer/memory/memory-direct-channels.ts';
import {
  createMemoryNetworkHub,
  type MemoryNetworkHub,
  type MemoryPeerNetwork,
} from '../../src/peer/memory/memory-network.ts';
import type { BlobStore } from '../../src/store/blob-store.ts';
import { createMemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import type { SwarmOptions } from '../../src/swarm/options.ts';
import type { SwarmDeps } from '../../src/swarm/swarm-deps.ts';
import { createSwarm, type SwarmNode } from '../../src/swarm/swarm-node.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';

const MiB = 1024 * 1024;

/** Quick turns and short patience, so that faults show within a test's time. */
export const testSwarmOptions: Omit<SwarmOptions, 'bulkPort'> = {
  schedule: {
    maxRequests: 8,
    maxRequestsPerPeer: 2,
    maxSuppliers: 8,
    maxInFlightBytes: 32 * MiB,
    readerWindowPieces: 2,
    originWindowExtents: 8,
    originWindowStartExtents: 3,
    takeoverMs: 200,
    originStallMs: 800,
    peerStallMs: 500,
    hedgeFactor: 3,
  },
  zone: '',
  uploadSlots: 8,
  uploadWaiting: 2,
  uploadRetryAfterMs: 20,
  uploadBytesPerSecond: 0,
  downloadBytesPerSecond: 0,
  directoryTimeoutMs: 1000,
  settleMs: 20,
  settleMaxMs: 200,
  patienceMs: 1500,
  resumeForMs: 0,
  banMs: 3_600_000,
};

/**
 * Turns that a loaded machine cannot make look like faults, for tests that count bytes. Everything is due at once: a node that failed
 * and the next in rank may begin together what becomes due later, and an origin in memory has given all of it before one stops.
 */
export const calmSwarmOptions: Partial<SwarmOptions> = {
  schedule: {
    ...testSwarmOptions.schedule,
    originWindowStartExtents: testSwarmOptions.schedule.originWindowExtents,
    takeoverMs: 5_000,
    originStallMs: 20_000,
    peerStallMs: 10_000,
  },
  settleMs: 200,
  settleMaxMs: 5_000,
  directoryTimeoutMs: 10_000,
  patienceMs: 30_000,
};

export interface SwarmFleetNode {
  readonly identity: PeerIdentity;
  readonly network: MemoryPeerNetwork;
  readonly directory: Directory;
  readonly store: Store;
  readonly swarm: SwarmNode;
}

export interface SwarmFleet extends AsyncDisposable {
  readonly hub: MemoryNetworkHub;
  readonly directories: MemoryDirectoryHub;
  readonly nodes: SwarmFleetNode[];
  stopNode(index: number): Promise<void>;
}

/** Nodes with the real swarm engine, joined by the memory twins of network, bulk plane and directory. */
export async function startSwarmFleet(
  count: number,
  origin: Origin,
  options: {
    readonly swarm?: Partial<SwarmOptions>;
    /** Replaces what a node serves, to make it lie. */
    readonly source?: (index: number, honest: PieceSource, identity: PeerIdentity) => PieceSource;
    readonly origin?: (index: number) => Origin;
    /** What a node starts with, from an earlier life. */
    readonly store?: (index: number) => Store | undefined;
    /** Puts something between a node and its blobs. */
    readonly blobs?: (index: number, blobs: BlobStore) => BlobStore;
    /** Puts something between a node and the directory. */
    readonly directory?: (index: number, directory: Directory) => Directory;
    readonly findRepository?: SwarmDeps['findRepository'];
    readonly onTransferStart?: SwarmDeps['onTransferStart'];
  } = {},
): Promise<SwarmFleet> {
  const hub = createMemoryNetworkHub();
  const bulk = createMemoryBulk(hub);
  const directories = createMemoryDirectoryHub();
  const clock = systemClock;
  const nodes: SwarmFleetNode[] = [];
  const stops: (() => Promise<void>)[] = [];
  for (let index = 0; index < count; index += 1) {
    const identity = await generateIdentity();
    const network = hub.join(identity.peerId);
    const directory = directories.join(identity.peerId);
    const kept = options.store?.(index);
    const store = kept ?? createMemoryStore({ clock });
    const verifiers = createInlinePrefixVerifiers({ maxOpen: 256 });
    const server = bulk.serve(identity.peerId, {
      openPieces: (...request) => source.openPieces(...request),
    });
    const swarm = createSwarm(
      {
        blobs: options.blobs?.(index, store.blobs) ?? store.blobs,
        origin: options.origin?.(index) ?? origin,
        directory: options.directory?.(index, directory) ?? directory,
        network,
        direct: createMemoryDirectChannels(network),
        bulk: bulk.createClient(identity.peerId),
        verifiers,
        identity,
        clock,
        random: seededRandom(index + 1),
        logger: silentLogger,
        metrics: noMetrics,
        health: createHealth(clock),
        ...(options.onTransferStart === undefined ? {} : { onTransferStart: options.onTransferStart }),
        ...(options.findRepository === undefined ? {} : { findRepository: options.findRepository }),
      },
      { ...testSwarmOptions, ...options.swarm, bulkPort: server.address.port },
    );
    const source = options.source?.(index, swarm.pieceSource, identity) ?? swarm.pieceSource;
    nodes.push({ identity, network, directory, store, swarm });
    stops.push(async () => {
      server.stop();
      await swarm[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
      await network[Symbol.asyncDispose]();
      await verifiers.close();
      // A store handed in belongs to whoever made it.
      if (kept === undefined) await store[Symbol.asyncDispose]();
    });
  }
  // Everyone knows everyone, as after the members' exchange.
  for (const node of nodes) {
    for (const other of nodes) {
      const address = other.network.addresses()[0];
      if (other === node || address === undefined || node.network.findPeer(other.identity.peerId) !== undefined)
        continue;
      await node.network.dial(address, AbortSignal.timeout(15_000));
    }
  }
  const stopped = new Set<number>();
  const stopNode = async (index: number) => {
    if (stopped.has(index)) return;
    stopped.add(index);
    await stops[index]?.();
  };
  return {
    hub,
    directories,
    nodes,
    stopNode,
    async [Symbol.asyncDispose]() {
      for (const index of stops.keys()) await stopNode(index);
    },
  };
}
