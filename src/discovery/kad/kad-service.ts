import { type KadDHT, type KadDHTComponents, kadDHT, passthroughMapper, type QueryEvent } from '@libp2p/kad-dht';
import { CID } from 'multiformats/cid';
import { code as rawCodec } from 'multiformats/codecs/raw';
import { decode as decodeMultihash } from 'multiformats/hashes/digest';
import { findPeerId, type PeerId } from '../../content/peer-id.ts';
import { Emitter } from '../../lib/emitter.ts';
import { type DigestKey, digestMultihash } from '../digest-key.ts';
import type { PeerTable } from './tracker-routing.ts';

/**
 * kad-dht as a service of the libp2p node that the peer folder owns: pass `factory` among its services; everything else works once
 * the node has started, and finds nothing before.
 */
export interface KadService extends PeerTable {
  readonly factory: (components: KadDHTComponents) => KadDHT;
  /** Stores provider records that point to this node; returns how many peers took one. */
  provide(key: DigestKey, signal: AbortSignal): Promise<number>;
  /** Yields providers as they are found. */
  findProviders(key: DigestKey, signal: AbortSignal): AsyncIterable<PeerId>;
  /** Forgets this node's own record; the holders keep theirs until it runs out. */
  forget(key: DigestKey, signal: AbortSignal): Promise<void>;
}

export interface KadServiceOptions {
  /** How soon after the start the first search for near peers runs; queries wait for it. */
  readonly initialQuerySelfIntervalMs: number;
}

/**
 * The part of kad-dht's routing table that its published types leave out; 16.4.5 has it as public members, and the integration test
 * fails when a release takes it away.
 */
interface OpenKadDHT extends KadDHT {
  readonly routingTable: {
    readonly kb: { toIterable(): Iterable<{ readonly peerId: { toString(): string } }> };
    addEventListener(name: 'peer:add' | 'peer:remove', listener: () => void): void;
  };
}

/** 17-25 messages a lookup instead of 40-47 with k = 20, and 8 holders are enough for hints (libp2p.md 4). */
const bucketSize = 8;
const parallelQueries = 3;
const hourMs = 60 * 60 * 1000;
const recordValidityMs = 48 * hourMs;

export function createKadService(options: KadServiceOptions): KadService {
  const changes = new Emitter<void>();
  let dht: OpenKadDHT | undefined;
  const create = kadDHT({
    protocol: '/shoal/kad/1.0.0',
    // Not left to be guessed: in a private network there is no public address, and all nodes would stay clients of nobody.
    clientMode: false,
    peerInfoMapper: passthroughMapper,
    kBucketSize: bucketSize,
    alpha: parallelQueries,
    disjointPaths: parallelQueries,
    initialQuerySelfInterval: options.initialQuerySelfIntervalMs,
    // true would "succeed" with no record stored anywhere.
    allowQueryWithZeroPeers: false,
    // Keeps the clean-up of old records and turns its quadratic reprovide off; RootPublisher repeats instead.
    reprovide: { threshold: 0, interval: hourMs, validity: recordValidityMs },
  });

  return {
    factory(components) {
      const created = create(components) as OpenKadDHT;
      created.routingTable.addEventListener('peer:add', () => changes.emit());
      created.routingTable.addEventListener('peer:remove', () => changes.emit());
      dht = created;
      return created;
    },
    peers() {
      const found: PeerId[] = [];
      for (const { peerId } of dht?.routingTable.kb.toIterable() ?? []) {
        const peer = findPeerId(peerId.toString());
        if (peer !== undefined) found.push(peer);
      }
      return found;
    },
    onChange: (listener) => changes.on(listener),
    async provide(key, signal) {
      let acknowledged = 0;
      for await (const event of dht?.provide(cidOf(key), { signal }) ?? []) {
        if (isAcknowledgement(event)) acknowledged += 1;
      }
      return acknowledged;
    },
    async *findProviders(key, signal) {
      for await (const event of dht?.findProviders(cidOf(key), { signal }) ?? []) {
        if (event.name !== 'PROVIDER') continue;
        for (const { id } of event.providers) {
          const peer = findPeerId(id.toString());
          if (peer !== undefined) yield peer;
        }
      }
    },
    async forget(key, signal) {
      await dht?.cancelReprovide(cidOf(key), { signal });
    },
  };
}

function isAcknowledgement(event: QueryEvent): boolean {
  return event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER';
}

/** CIDv1, raw: what a standard client asks for when it knows the digest alone. */
function cidOf(key: DigestKey): CID {
  return CID.createV1(rawCodec, decodeMultihash(digestMultihash(key)));
}
