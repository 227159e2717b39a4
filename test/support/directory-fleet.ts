import type { PeerId } from '../../src/content/peer-id.ts';
import type { Directory } from '../../src/discovery/directory.ts';
import { type KadDirectoryOptions, startKadDirectory } from '../../src/discovery/kad/kad-directory.ts';
import { createTrackerRouting } from '../../src/discovery/kad/tracker-routing.ts';
import { type Clock, seededRandom, systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import {
  createMemoryNetworkHub,
  type MemoryNetworkHub,
  type MemoryPeerNetwork,
} from '../../src/peer/memory/memory-network.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { directoryOptions, testPeer } from './discovery.ts';

export interface FleetNode {
  readonly name: string | number;
  readonly peer: PeerId;
  readonly directory: Directory & AsyncDisposable;
  readonly network: MemoryPeerNetwork;
  /** Ends the process as a crash does: nobody is told. */
  crash(): Promise<void>;
}

/** Kad directories over the memory network, every node connected to every other. */
export class DirectoryFleet implements AsyncDisposable {
  readonly hub: MemoryNetworkHub;
  readonly nodes: FleetNode[] = [];
  readonly #clock: Clock;
  readonly #options: KadDirectoryOptions;

  constructor(options: Partial<KadDirectoryOptions> = {}, clock: Clock = systemClock) {
    this.hub = createMemoryNetworkHub();
    this.#clock = clock;
    this.#options = { ...directoryOptions, ...options };
  }

  async join(name: string | number): Promise<FleetNode> {
    const peer = testPeer(name);
    const network = this.hub.join(peer);
    const clock = this.#clock;
    const routing = createTrackerRouting({ network, clock }, { unreachableMs: 60_000 });
    const directory = await startKadDirectory(
      {
        network,
        routing,
        clock,
        random: seededRandom(this.nodes.length),
        logger: silentLogger,
        metrics: noMetrics,
      },
      this.#options,
    );
    const node: FleetNode = {
      name,
      peer,
      directory,
      network,
      crash: async () => {
        this.hub.dropPeer(peer);
        this.nodes.splice(this.nodes.indexOf(node), 1);
        await directory[Symbol.asyncDispose]();
        routing[Symbol.dispose]();
      },
    };
    for (const other of this.nodes.filter(({ peer: known }) => known !== peer)) {
      await network.dial(other.network.addresses()[0] as string, new AbortController().signal);
    }
    this.nodes.push(node);
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of [...this.nodes]) await node.crash();
  }
}
