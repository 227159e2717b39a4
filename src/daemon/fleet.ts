import type { Config } from '../config/schema.ts';
import { listenAddressText } from '../config/values.ts';
import type { Directory } from '../discovery/directory.ts';
import { startKadDirectory } from '../discovery/kad/kad-directory.ts';
import { createKadService } from '../discovery/kad/kad-service.ts';
import { startRootPublisher } from '../discovery/kad/root-publisher.ts';
import { createTrackerRouting } from '../discovery/kad/tracker-routing.ts';
import { startMembership } from '../discovery/membership/fleet-membership.ts';
import { createMdnsService } from '../discovery/membership/mdns-service.ts';
import { systemResolver } from '../discovery/membership/resolver.ts';
import type { Membership } from '../discovery/membership.ts';
import { createDiscoveryMetrics } from '../discovery/metrics.ts';
import type { TagHints } from '../discovery/tag-hints.ts';
import { createTagHints } from '../discovery/tags/channel-tag-hints.ts';
import type { Health } from '../health/health.ts';
import type { Clock, Random } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { PeerIdentity } from '../peer/identity.ts';
import { startLibp2pPeerNetwork } from '../peer/libp2p/libp2p-network.ts';
import type { PeerNetwork } from '../peer/peer-network.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { binding } from './listen-error.ts';
import {
  directoryOptions,
  initialQuerySelfIntervalMs,
  mdnsQueryIntervalMs,
  membershipOptions,
  rootPublisherOptions,
  tagHintsOptions,
  unreachableMs,
} from './options/directory-options.ts';
import { networkOptions } from './options/peer-options.ts';

/** The control plane and all that finds its way over it. */
export interface Fleet extends AsyncDisposable {
  readonly network: PeerNetwork;
  readonly directory: Directory;
  readonly membership: Membership;
  readonly tagHints: TagHints;
}

export interface FleetDeps {
  readonly identity: PeerIdentity;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly health: Health;
}

/**
 * Starts the control plane, the directory on it, and the search for other nodes.
 * @throws DAEMON_PORT_TAKEN, DAEMON_ADDRESS_REFUSED, DISCOVERY_BOOTSTRAP_INVALID
 */
export async function startFleet(
  deps: FleetDeps,
  config: Config,
  { fleetSecret, version }: { readonly fleetSecret: string | undefined; readonly version: string },
): Promise<Fleet> {
  await using unwinding = new AsyncDisposableStack();
  const peerDeps = { ...deps, logger: deps.logger.child({ part: 'peer' }) };
  const discoveryDeps = { ...deps, logger: deps.logger.child({ part: 'discovery' }) };

  const kad = createKadService({ initialQuerySelfIntervalMs });
  const mdns = config.fleet.mdns ? createMdnsService({ queryIntervalMs: mdnsQueryIntervalMs }) : undefined;
  const options = networkOptions(config, fleetSecret, version);
  const network = unwinding.use(
    await binding('peer.listen', listenAddressText(options.listen), () =>
      startLibp2pPeerNetwork(peerDeps, {
        ...options,
        services: { dht: kad.factory, ...(mdns === undefined ? {} : { mdns: mdns.factory }) },
      }),
    ),
  );
  const routing = unwinding.use(createTrackerRouting({ network, clock: deps.clock, table: kad }, { unreachableMs }));
  const roots = unwinding.use(
    await startRootPublisher(
      { ...discoveryDeps, network, kad, metrics: createDiscoveryMetrics(deps.metrics) },
      rootPublisherOptions,
    ),
  );
  const directory = unwinding.use(
    await startKadDirectory({ ...discoveryDeps, network, routing, roots }, directoryOptions),
  );
  const tagHints = unwinding.use(createTagHints({ ...discoveryDeps, network }, tagHintsOptions));
  const membership = unwinding.use(
    await startMembership(
      { ...discoveryDeps, network, resolver: systemResolver, ...(mdns === undefined ? {} : { mdns }) },
      membershipOptions(config),
    ),
  );
  const stack = unwinding.move();
  return { network, directory, membership, tagHints, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
