import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { digestKey } from '../../src/discovery/digest-key.ts';
import type { Directory, Provider } from '../../src/discovery/directory.ts';
import { startKadDirectory } from '../../src/discovery/kad/kad-directory.ts';
import { createKadService, type KadService } from '../../src/discovery/kad/kad-service.ts';
import { startRootPublisher } from '../../src/discovery/kad/root-publisher.ts';
import { createTrackerRouting } from '../../src/discovery/kad/tracker-routing.ts';
import { startMembership } from '../../src/discovery/membership/fleet-membership.ts';
import { systemResolver } from '../../src/discovery/membership/resolver.ts';
import type { Membership } from '../../src/discovery/membership.ts';
import { createDiscoveryMetrics } from '../../src/discovery/metrics.ts';
import { systemClock, systemRandom } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { generateIdentity, type PeerIdentity } from '../../src/peer/identity.ts';
import { startLibp2pPeerNetwork } from '../../src/peer/libp2p/libp2p-network.ts';
import type { PeerNetwork } from '../../src/peer/peer-network.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { directoryOptions, testDigest } from '../support/discovery.ts';
import { patience } from '../support/patience.ts';
import { libp2pOptions } from '../support/peer-networks.ts';

interface Node extends AsyncDisposable {
  readonly identity: PeerIdentity;
  readonly network: PeerNetwork;
  readonly kad: KadService;
  readonly directory: Directory;
  readonly membership: Membership;
}

const { signal } = new AbortController();
const hourMs = 3_600_000;
const deps = { clock: systemClock, random: systemRandom, logger: silentLogger, metrics: noMetrics };
const health = { set: () => {}, clear: () => {}, conditions: () => [], isReady: true };
const nodes: Node[] = [];

async function start(bootstrap: readonly string[], identity?: PeerIdentity): Promise<Node> {
  const stack = new AsyncDisposableStack();
  const id = identity ?? (await generateIdentity());
  const kad = createKadService({ initialQuerySelfIntervalMs: 100 });
  const network = stack.use(
    await startLibp2pPeerNetwork(
      { ...deps, identity: id },
      { ...libp2pOptions, fleetSecret: Buffer.from('a secret of this test'), services: { kad: kad.factory } },
    ),
  );
  const routing = stack.use(
    createTrackerRouting({ network, clock: systemClock, table: kad }, { unreachableMs: 10_000 }),
  );
  const roots = stack.use(
    await startRootPublisher(
      { ...deps, network, kad, metrics: createDiscoveryMetrics(noMetrics) },
      {
        firstProvideMinMs: 0,
        firstProvideMaxMs: 0,
        reprovideMinMs: 18 * hourMs,
        reprovideMaxMs: 22 * hourMs,
        provideTimeoutMs: 10_000,
        retryMinMs: 500,
        retryMaxMs: 10_000,
        parallelProvides: 2,
        maxRoots: 1000,
      },
    ),
  );
  const directory = stack.use(
    await startKadDirectory(
      { ...deps, network, routing, roots },
      { ...directoryOptions, graceMs: 500, expireIntervalMs: 100 },
    ),
  );
  const membership = stack.use(
    await startMembership(
      { ...deps, network, resolver: systemResolver, health },
      {
        bootstrap,
        dialTimeoutMs: 10_000,
        retryMinMs: 200,
        retryMaxMs: 5000,
        resolveIntervalMs: 30_000,
        maxConnections: 250,
        maxParallelDials: 16,
        maxMembers: 2000,
        forgetAfterMs: 600_000,
        settleTimeoutMs: 10_000,
        exchangeIntervalMs: 5000,
        exchangeTimeoutMs: 10_000,
      },
    ),
  );
  const node = { identity: id, network, kad, directory, membership, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  nodes.push(node);
  return node;
}

/** Takes a node out without a word to anyone: the network ends first. */
async function kill(node: Node): Promise<void> {
  nodes.splice(nodes.indexOf(node), 1);
  await (node.network as PeerNetwork & AsyncDisposable)[Symbol.asyncDispose]();
  await node[Symbol.asyncDispose]();
}

async function providersAt(node: Node, name: string): Promise<readonly Provider[]> {
  const digest = testDigest(name);
  return (await node.directory.find([digest], signal)).get(digest) ?? [];
}

async function meshed(): Promise<void> {
  await vi.waitFor(
    () => expect(nodes.map((node) => node.network.peers().length)).toEqual(nodes.map(() => nodes.length - 1)),
    { timeout: 30_000, interval: 50 },
  );
}

describe('discovery over libp2p', () => {
  beforeAll(async () => {
    const first = await start([]);
    const address = first.network.addresses()[0] as string;
    for (let at = 0; at < 5; at += 1) await start([address]);
    await meshed();
  });

  afterAll(async () => {
    for (const node of [...nodes]) await node[Symbol.asyncDispose]();
  });

  it('knows every member and where it listens through one address', async () => {
    for (const node of nodes) {
      await vi.waitFor(() => {
        const members = node.membership.members();
        expect(members.filter((member) => member.isConnected && member.addresses.length > 0)).toHaveLength(5);
      }, patience);
    }
  });

  it('finds on every node what was announced on one', async () => {
    const [holder, ...others] = nodes as [Node, ...Node[]];
    await holder.directory.announce([{ digest: testDigest('a'), holding: 'complete' }], signal);
    for (const node of others) expect(await providersAt(node, 'a')).toMatchObject([{ peer: holder.network.self }]);
  });

  it('pushes a new provider to a node that is fetching', async () => {
    const [, fetcher, holder] = nodes as [Node, Node, Node];
    const heard: Provider[] = [];
    fetcher.directory.onProvider((_digest, provider) => heard.push(provider));
    await fetcher.directory.announce([{ digest: testDigest('pushed'), holding: 'fetching' }], signal);
    await holder.directory.announce([{ digest: testDigest('pushed'), holding: 'complete' }], signal);
    await vi.waitFor(() => expect(heard).toMatchObject([{ peer: holder.network.self, holding: 'complete' }]), patience);
  });

  it('publishes an image root through kad-dht', async () => {
    const [holder, asker] = nodes as [Node, Node];
    const key = digestKey(testDigest('root'));
    await vi.waitFor(() => expect(asker.kad.peers().length).toBeGreaterThan(0), patience);
    holder.directory.publishRoot(testDigest('root'));
    await vi.waitFor(async () => {
      const found = [];
      for await (const peer of asker.kad.findProviders(key, AbortSignal.timeout(5000))) found.push(peer);
      expect(found).toContain(holder.network.self);
    }, patience);
  });

  it('announces again when a tracker comes back with nothing', async () => {
    const digests = Array.from({ length: 200 }, (_, at) => testDigest(`again ${at}`));
    const [holder, , , , fifth] = nodes as [Node, Node, Node, Node, Node];
    await holder.directory.announce(
      digests.map((digest) => ({ digest, holding: 'complete' })),
      signal,
    );
    await kill(fifth);
    const again = await start([holder.network.addresses()[0] as string], fifth.identity);
    await meshed();
    await vi.waitFor(async () => {
      const found = await again.directory.find(digests, signal);
      expect(digests.filter((digest) => found.get(digest)?.[0]?.peer !== holder.network.self)).toEqual([]);
    }, patience);
  });

  it('loses the records of a node that has died', async () => {
    const dying = nodes.at(-1) as Node;
    await dying.directory.announce([{ digest: testDigest('lost'), holding: 'complete' }], signal);
    const asker = nodes[1] as Node;
    expect(await providersAt(asker, 'lost')).toHaveLength(1);
    await kill(dying);
    await vi.waitFor(async () => expect(await providersAt(asker, 'lost')).toEqual([]), patience);
  });

  it('announces 20,000 digests in about a second', async () => {
    const digests = Array.from({ length: 20_000 }, (_, at) => testDigest(`many ${at}`));
    const [holder, asker] = nodes as [Node, Node];
    const cpu = process.cpuUsage();
    const startedAtMs = performance.now();
    await holder.directory.announce(
      digests.map((digest) => ({ digest, holding: 'complete' })),
      signal,
    );
    const { user, system } = process.cpuUsage(cpu);
    const wallMs = Math.round(performance.now() - startedAtMs);
    process.stdout.write(
      `20,000 digests: ${wallMs} ms wall, ${Math.round((user + system) / 1000)} ms CPU of all nodes\n`,
    );
    await vi.waitFor(async () => {
      const found = await asker.directory.find(digests, signal);
      expect(digests.filter((digest) => found.get(digest)?.length !== 1)).toEqual([]);
    }, patience);
  });
});
