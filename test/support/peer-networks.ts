import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { generateIdentity, type PeerIdentity } from '../../src/peer/identity.ts';
import { type Libp2pNetworkOptions, startLibp2pPeerNetwork } from '../../src/peer/libp2p/libp2p-network.ts';
import { createMemoryNetworkHub } from '../../src/peer/memory/memory-network.ts';
import type { PeerNetwork } from '../../src/peer/peer-network.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';

export const libp2pOptions: Libp2pNetworkOptions<Record<never, never>> = {
  listen: { host: '127.0.0.1', port: 0 },
  version: '0.0.0-test',
  maxConnections: 100,
  maxParallelDials: 20,
  dialTimeoutMs: 10_000,
  helloTimeoutMs: 10_000,
  pingIntervalMs: 20_000,
  silentIntervals: 3,
  closeTimeoutMs: 5_000,
  maxSendQueueBytes: 1024 * 1024,
  maxReceiveQueueBytes: 512 * 1024,
  maxChannelsPerPeer: 8,
  services: {},
};

/** Makes nodes of one implementation that can reach each other. */
export interface NetworkKit extends AsyncDisposable {
  join(fleet?: string, overrides?: Partial<typeof libp2pOptions>): Promise<PeerNetwork & AsyncDisposable>;
}

export async function createMemoryKit(): Promise<NetworkKit> {
  const hub = createMemoryNetworkHub({ maxSendQueueBytes: 1024 * 1024, maxReceiveQueueBytes: 512 * 1024 });
  return {
    join: async (fleet) => hub.join((await generateIdentity()).peerId, fleet === undefined ? {} : { fleet }),
    async [Symbol.asyncDispose]() {},
  };
}

export async function createLibp2pKit(): Promise<NetworkKit> {
  const stack = new AsyncDisposableStack();
  return {
    async join(fleet, overrides) {
      return stack.use(await startTestNetwork(await generateIdentity(), fleet, overrides));
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

export function startTestNetwork(
  identity: PeerIdentity,
  fleet?: string,
  overrides: Partial<typeof libp2pOptions> = {},
) {
  return startLibp2pPeerNetwork(
    { identity, clock: systemClock, logger: silentLogger, metrics: noMetrics },
    { ...libp2pOptions, ...(fleet === undefined ? {} : { fleetSecret: Buffer.from(fleet) }), ...overrides },
  );
}
