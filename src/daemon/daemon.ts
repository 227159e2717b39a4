import { join } from 'node:path';
import { startAdmin } from '../admin/start-admin.ts';
import type { LoadedConfig } from '../config/load.ts';
import { listenAddressText } from '../config/values.ts';
import type { PeerId } from '../content/peer-id.ts';
import { createPrefixVerifiers } from '../content/threaded-prefix-verifiers.ts';
import { createHealth } from '../health/conditions.ts';
import { observeHealth } from '../health/observe.ts';
import { createImages } from '../image/create-images.ts';
import { type Clock, type Random, systemClock, systemRandom } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { TaskGroup } from '../lib/task-group.ts';
import { widenNursery } from '../lib/v8-flags.ts';
import { nodePlatform } from '../oci/platform.ts';
import { createOrigin } from '../origin/create-origin.ts';
import type { PieceSource } from '../peer/bulk.ts';
import { loadIdentity } from '../peer/identity.ts';
import { createBulkClient } from '../peer/tls/bulk-client.ts';
import { startBulkServer } from '../peer/tls/bulk-server.ts';
import { channelProtocol } from '../peer/tls/certificate.ts';
import { createTlsChannels } from '../peer/tls/tls-channels.ts';
import { startRegistry } from '../registry/start-registry.ts';
import { openStore } from '../store/disk/open-store.ts';
import { createStoreMetrics } from '../store/store-metrics.ts';
import { createSwarm } from '../swarm/swarm-node.ts';
import { startProcessMetrics } from '../telemetry/process-metrics.ts';
import { createPrometheusMetrics, type PrometheusMetrics } from '../telemetry/prometheus-metrics.ts';
import { compactMemory } from './compact-memory.ts';
import { watchDisk } from './disk-watch.ts';
import { startFleet } from './fleet.ts';
import { readFleetSecret } from './fleet-secret.ts';
import { findImageBlobs } from './image-blobs.ts';
import { binding } from './listen-error.ts';
import { adminOptions } from './options/admin-options.ts';
import { imagesOptions } from './options/image-options.ts';
import { originOptions } from './options/origin-options.ts';
import { bulkClientOptions, bulkServerOptions, tlsChannelsOptions } from './options/peer-options.ts';
import { registryOptions } from './options/registry-options.ts';
import { diskLimits, historyOptions, storeOptions, verifierOptions } from './options/store-options.ts';
import { swarmOptions } from './options/swarm-options.ts';
import { askOwnRegistry } from './own-request.ts';
import { reannounceHeld } from './reannounce.ts';
import { openTransferHistory } from './transfer-history.ts';
import { watchUnexpectedErrors } from './unexpected.ts';

/** A running node. */
export interface Daemon extends AsyncDisposable {
  readonly peerId: string;
  readonly dataDir: string;
  /** `host:port` as bound. */
  readonly addresses: { readonly registry: string; readonly admin: string; readonly bulk: string };
  /** Multiaddrs other nodes may bootstrap from. */
  readonly peerAddresses: readonly string[];
  /** No fleet secret is set, so that no other machine can reach the peer ports. */
  readonly isLoopbackOnly: boolean;
  /** What is measured, for the reference page. */
  readonly metrics: Pick<PrometheusMetrics, 'definitions' | 'text'>;
  /** Stops listening, lets running answers end within `shutdown.drainTimeout`, takes back what was announced, closes all. */
  stop(): Promise<void>;
}

export interface DaemonDeps {
  readonly logger: Logger;
  readonly version: string;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Also watches the process: its memory, CPU and event loop, and errors nobody expected. Not for several daemons in one. */
  readonly ownsProcess?: boolean;
}

/**
 * Starts a node part by part; when one fails, those before it are undone. Order: what others need comes first, and what takes
 * requests from outside comes last, so that the reverse closes the doors before anything behind them.
 * @throws DAEMON_PORT_TAKEN, DAEMON_ADDRESS_REFUSED, DAEMON_SECRET_UNREADABLE, DISCOVERY_BOOTSTRAP_INVALID, STORE_LOCKED, STORE_UNWRITABLE, STORE_FULL, PEER_IDENTITY
 */
export async function startDaemon(config: LoadedConfig['config'], deps: DaemonDeps): Promise<Daemon> {
  await using unwinding = new AsyncDisposableStack();
  const { logger, version, clock = systemClock, random = systemRandom } = deps;
  const { dataDir } = config;
  const part = (name: string) => logger.child({ part: name });
  const startedAtMs = clock.wallMs();

  const metrics = createPrometheusMetrics();
  const health = createHealth(clock);
  const unobserve = observeHealth(health, part('health'), metrics);
  unwinding.defer(unobserve);
  if (deps.ownsProcess === true) {
    unwinding.use(startProcessMetrics(metrics));
    unwinding.use(watchUnexpectedErrors({ logger, metrics, health }));
  }
  const common = { clock, random, metrics, health };

  const fleetSecret = await readFleetSecret(config.fleet);
  const store = unwinding.use(
    await openStore(
      { clock, logger: part('store'), metrics: createStoreMetrics(metrics) },
      storeOptions(config, dataDir),
    ),
  );
  const identity = await loadIdentity(join(dataDir, 'identity.key'));
  const history = unwinding.use(await openTransferHistory({ logger: part('daemon') }, historyOptions(dataDir)));
  const verifiers = unwinding.adopt(
    createPrefixVerifiers({ logger: part('content') }, verifierOptions(config)),
    (opened) => opened.close(),
  );
  const origin = unwinding.use(createOrigin({ ...common, logger: part('origin') }, originOptions(config, version)));
  const fleet = unwinding.use(await startFleet({ ...common, logger, identity }, config, { fleetSecret, version }));
  const { network, directory, membership, tagHints } = fleet;

  const peerDeps = { identity, clock, metrics, logger: part('peer') };
  const isMember = (peer: PeerId) => network.findPeer(peer) !== undefined;
  const channels = unwinding.use(createTlsChannels({ ...peerDeps, isMember }, tlsChannelsOptions));
  const bulk = unwinding.use(createBulkClient(peerDeps, bulkClientOptions(config)));
  // Each needs the other: the server comes first, so that the swarm has a port to tell, and has those wait who ask before it can give.
  const sharing = Promise.withResolvers<PieceSource>();
  const bulkListen = bulkServerOptions(config, fleetSecret !== undefined);
  const bulkServer = unwinding.use(
    await binding('peer.bulkListen', listenAddressText(bulkListen.listen), () =>
      startBulkServer(
        {
          ...peerDeps,
          source: { openPieces: async (...request) => (await sharing.promise).openPieces(...request) },
          isMember,
          protocols: new Map([[channelProtocol, (socket, peer) => channels.accept(socket, peer)]]),
        },
        bulkListen,
      ),
    ),
  );
  const swarm = unwinding.use(
    createSwarm(
      {
        ...common,
        blobs: store.blobs,
        origin,
        directory,
        network,
        direct: channels,
        bulk,
        verifiers,
        identity,
        logger: part('swarm'),
        ...(deps.ownsProcess === true && { onTransferStart: widenNursery }),
        onTransferEnd: (transfer) => history.add(transfer),
        findEarlierTransfer: (digest) => history.find(digest),
        findRepository: async (digest) => (await store.metadata.findParents(digest))[0]?.repository,
      },
      swarmOptions(config, bulkServer.address.port),
    ),
  );
  sharing.resolve(swarm.pieceSource);
  const bulkAddress = listenAddressText(bulkServer.address);

  const images = unwinding.use(
    createImages(
      { ...common, store, origin, swarm, directory, tagHints, logger: part('image') },
      imagesOptions(config),
    ),
  );
  const tasks = new TaskGroup((error) => logger.error({ error }, 'a background task of the daemon failed'));
  unwinding.defer(() => tasks.stop());
  tasks.run((signal) => reannounceHeld({ store, images, directory, membership, logger: part('discovery') }, signal));
  tasks.run((signal) => watchDisk({ blobs: store.blobs, health, clock }, { dataDir, ...diskLimits(config) }, signal));

  const admin = unwinding.use(
    await binding('admin.listen', listenAddressText(config.admin.listen), () =>
      startAdmin(
        {
          health,
          swarm,
          membership,
          images,
          clock,
          logger: part('admin'),
          metricsText: () => metrics.text(),
          explain: {
            findEarlierTransfer: (digest) => history.find(digest),
            findImageBlobs: (request) => findImageBlobs(store.metadata, request, nodePlatform()),
          },
          status: async () => ({
            version,
            peer: identity.peerId,
            startedAtMs,
            store: await store.blobs.usage(),
            origins: origin.status(),
          }),
        },
        adminOptions(config),
      ),
    ),
  );
  const registry = unwinding.use(
    await binding('registry.listen', listenAddressText(config.registry.listen), () =>
      startRegistry(
        { images, clock, metrics, logger: part('registry') },
        registryOptions(config, (namespace) => origin.allows(namespace)),
      ),
    ),
  );

  if (deps.ownsProcess === true) {
    // Not before there are doors to knock at, and not in the first pull.
    verifiers.prepare();
    tasks.run((signal) => askOwnRegistry({ logger: part('daemon') }, registry.address, signal));
    const isUnused = () => swarm.transfers().length === 0 && swarm.peers().every(({ sentBytes }) => sentBytes === 0);
    tasks.run((signal) => compactMemory(clock, isUnused, signal));
  }
  const isLoopbackOnly = fleetSecret === undefined;
  if (isLoopbackOnly) health.set(loopbackOnly);
  const stack = unwinding.move();
  let stopped: Promise<void> | undefined;
  const stop = () => {
    // A stop that was asked for is no news for the log of conditions.
    unobserve();
    health.set(stopping);
    stopped ??= stack.disposeAsync();
    return stopped;
  };
  return {
    peerId: identity.peerId,
    dataDir,
    addresses: {
      registry: listenAddressText(registry.address),
      admin: listenAddressText(admin.address),
      bulk: bulkAddress,
    },
    peerAddresses: network.addresses(),
    isLoopbackOnly,
    metrics,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

const loopbackOnly = {
  code: 'PEER_LOOPBACK_ONLY',
  severity: 'notice',
  text: 'no fleet secret is set: the peer ports are bound to loopback, and no other machine can join',
  remedy: 'put the same secret on every node (fleet.secretFile) and name one of them in fleet.bootstrap',
} as const;

const stopping = {
  code: 'DAEMON_STOPPING',
  severity: 'blocking',
  text: 'the node is stopping; running requests may end',
  remedy: 'wait, or send a second signal to cut them off',
} as const;
