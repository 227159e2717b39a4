import type { PeerId } from '../../src/content/peer-id.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import type { BulkAddress, BulkClient, PieceSource } from '../../src/peer/bulk.ts';
import type { PeerIdentity } from '../../src/peer/identity.ts';
import { createMemoryBulk } from '../../src/peer/memory/memory-bulk.ts';
import { createMemoryNetworkHub } from '../../src/peer/memory/memory-network.ts';
import { createBulkClient } from '../../src/peer/tls/bulk-client.ts';
import { startBulkServer } from '../../src/peer/tls/bulk-server.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { bulkClientOptions, bulkServerOptions } from './bulk-options.ts';

/** A server and clients of one implementation of the bulk plane. */
export interface BulkKit extends AsyncDisposable {
  readonly address: BulkAddress;
  createClient(identity: PeerIdentity): BulkClient;
  stopServer(): Promise<void>;
}

export interface BulkKitOptions {
  readonly server: PeerIdentity;
  readonly clients: readonly PeerIdentity[];
  readonly source: PieceSource;
  readonly isMember?: (peer: PeerId) => boolean;
  readonly stallMs?: number;
}

export async function createMemoryBulkKit(options: BulkKitOptions): Promise<BulkKit> {
  const hub = createMemoryNetworkHub();
  for (const { peerId } of [options.server, ...options.clients]) hub.join(peerId);
  const bulk = createMemoryBulk(hub, { stallMs: options.stallMs ?? 10_000 });
  const served = bulk.serve(options.server.peerId, options.source, options.isMember);
  return {
    address: served.address,
    createClient: (identity) => bulk.createClient(identity.peerId),
    stopServer: async () => served.stop(),
    async [Symbol.asyncDispose]() {},
  };
}

export async function createTlsBulkKit(options: BulkKitOptions): Promise<BulkKit> {
  const stack = new AsyncDisposableStack();
  const deps = { clock: systemClock, logger: silentLogger, metrics: noMetrics };
  const isMember = options.isMember ?? (() => true);
  const server = stack.use(
    await startBulkServer({ ...deps, identity: options.server, source: options.source, isMember }, bulkServerOptions),
  );
  const stallMs = options.stallMs ?? 10_000;
  return {
    address: server.address,
    createClient: (identity) =>
      stack.use(
        createBulkClient(
          { ...deps, identity },
          { ...bulkClientOptions, headersTimeoutMs: stallMs, stallTimeoutMs: stallMs },
        ),
      ),
    stopServer: async () => server[Symbol.asyncDispose](),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
