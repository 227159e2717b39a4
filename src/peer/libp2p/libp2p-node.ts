import { type Identify, type IdentifyPush, identify, identifyPush } from '@libp2p/identify';
import type { ConnectionGater, Libp2p, ServiceMap } from '@libp2p/interface';
import { type Ping, ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import type { Multiaddr } from '@multiformats/multiaddr';
import { createLibp2p, type ServiceFactoryMap } from 'libp2p';
import { PeerError } from '../errors.ts';
import type { PeerIdentity } from '../identity.ts';
import { findDialAddress, hostOf, toMultiaddr } from './address.ts';
import { BoundedDatastore } from './bounded-datastore.ts';
import { fleetPrologue, isLoopbackHost } from './fleet.ts';
import { frugalNoise } from './frugal-noise.ts';

export interface NodeOptions<Services extends ServiceMap> {
  readonly listen: { readonly host: string; readonly port: number };
  readonly fleetSecret?: Uint8Array;
  /** `host:port` or multiaddrs others reach this node at, when it cannot know them itself (NAT, containers). */
  readonly announceAddresses?: readonly string[];
  readonly version: string;
  /** Connections over which libp2p prunes and refuses. */
  readonly maxConnections: number;
  readonly maxParallelDials: number;
  /** A dial with everything in it: name, socket, handshake. */
  readonly dialTimeoutMs: number;
  /** More libp2p services (kad-dht, mDNS), made by the folder that owns them. */
  readonly services: MoreServices<Services>;
}

/** Factories of services that may use each other and the base services. */
type MoreServices<Services extends ServiceMap> = {
  [Name in keyof Services]: (components: BaseComponents & Services) => Services[Name];
};

type BaseComponents = Parameters<ServiceFactoryMap<BaseServices>['ping']>[0];

export type BaseServices = { identify: Identify; identifyPush: IdentifyPush; ping: Ping };

/** Keeps foreign libp2p nodes apart even where there is no secret. */
const protocolPrefix = 'shoal';
const dayMs = 24 * 60 * 60 * 1000;
// Over the 48 h a provider record lives: kad-dht drops providers whose address has aged out (libp2p.md 3.4, problem 1).
const maxAddressAgeMs = 7 * dayMs;
const maxPeerAgeMs = 14 * dayMs;
// libp2p's 5 per host and second and 10 pending refuse racks behind one address and mass restarts (libp2p.md 3.4, problem 4).
const inboundConnectionThreshold = 100;
const maxIncomingPendingConnections = 200;
// A stream pauses with a full window in its buffer, so the window must stay under the buffer (libp2p.md 2.4, trap 2).
const streamWindowBytes = 256 * 1024;
const maxStreamWindowBytes = 1024 * 1024;
const maxReadBufferBytes = 4 * 1024 * 1024;

/** @throws PEER_LISTEN when the port cannot be bound */
export async function startLibp2pNode<Services extends ServiceMap>(
  identity: PeerIdentity,
  connectionGater: ConnectionGater,
  options: NodeOptions<Services>,
): Promise<Libp2p<BaseServices & Services>> {
  const { listen, fleetSecret, version } = options;
  const baseServices: ServiceFactoryMap<BaseServices> = {
    identify: identify({ protocolPrefix }),
    identifyPush: identifyPush({ protocolPrefix }),
    ping: ping({ protocolPrefix }),
  };
  const node = await createLibp2p<BaseServices & Services>({
    start: false,
    privateKey: identity.libp2pKey,
    nodeInfo: { name: 'shoal', version, userAgent: `shoal/${version}` },
    addresses: {
      listen: [toMultiaddr(listen.host, listen.port).toString()],
      announce: (options.announceAddresses ?? []).map((text) => announceAddress(text).toString()),
      announceFilter: withoutLoopback,
    },
    transports: [tcp()],
    connectionEncrypters: [frugalNoise(fleetSecret === undefined ? {} : { prologueBytes: fleetPrologue(fleetSecret) })],
    streamMuxers: [
      yamux({
        // Sessions ping by themselves and cut what is silent; a second ping would tell nothing.
        enableKeepAlive: false,
        streamOptions: {
          initialStreamWindowSize: streamWindowBytes,
          maxStreamWindowSize: maxStreamWindowBytes,
          maxReadBufferLength: maxReadBufferBytes,
        },
      }),
    ],
    connectionGater,
    connectionMonitor: { enabled: false },
    connectionManager: {
      maxConnections: options.maxConnections,
      maxParallelDials: options.maxParallelDials,
      dialTimeout: options.dialTimeoutMs,
      addressDialTimeout: options.dialTimeoutMs,
      inboundUpgradeTimeout: options.dialTimeoutMs,
      inboundConnectionThreshold,
      maxIncomingPendingConnections,
    },
    datastore: new BoundedDatastore(),
    peerStore: { maxAddressAge: maxAddressAgeMs, maxPeerAge: maxPeerAgeMs },
    // The spread of two maps over the union of their keys is the map of the intersection; the compiler does not see it for a generic.
    services: { ...baseServices, ...options.services } as unknown as ServiceFactoryMap<BaseServices & Services>,
  });
  try {
    await node.start();
  } catch (cause) {
    throw new PeerError('PEER_LISTEN', `cannot listen for peers on ${listen.host}:${listen.port}`, {
      cause,
      details: { host: listen.host, port: listen.port },
    });
  }
  return node;
}

/** Others must not be told loopback addresses unless there is nothing else: they would dial themselves. */
function withoutLoopback(addresses: Multiaddr[]): Multiaddr[] {
  const reachable = addresses.filter((address) => !isLoopbackHost(hostOf(address)));
  return reachable.length > 0 ? reachable : addresses;
}

function announceAddress(text: string): Multiaddr {
  const address = findDialAddress(text);
  if (address === undefined) throw new TypeError(`not an address to announce: ${text}`);
  return address;
}
