import type { PeerId } from '../../content/peer-id.ts';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { Emitter } from '../../lib/emitter.ts';
import { BannedPeers } from '../banned-peers.ts';
import { PeerError } from '../errors.ts';
import type { Channel, ConnectedPeer, PeerChange, PeerNetwork } from '../peer-network.ts';
import { type Deliver, MemoryChannel, type MemoryChannelOptions } from './memory-channel.ts';

/**
 * Peers inside one process: every joined node can dial every other, and the hub can cut links, hold deliveries back and drop nodes.
 * Without a clock a delivery takes a microtask, with one `latencyMs` of its time.
 */
export interface MemoryNetworkHub {
  /** Makes a node; `fleet` stands for the fleet secret, nodes of different fleets refuse each other. */
  join(peer: PeerId, options?: { readonly fleet?: string }): MemoryPeerNetwork;
  /** Closes the connection between two nodes and refuses new ones until `healLink`. */
  cutLink(left: PeerId, right: PeerId): void;
  healLink(left: PeerId, right: PeerId): void;
  /** Holds everything back between two nodes, without closing, until `resumeLink`. */
  pauseLink(left: PeerId, right: PeerId): void;
  resumeLink(left: PeerId, right: PeerId): void;
  /** Takes a node out as a crash does: its connections close, nobody reaches it, it may join again. */
  dropPeer(peer: PeerId): void;
  /** How things stand between two nodes, for twins of other protocols on the same hub. */
  link(left: PeerId, right: PeerId): LinkState;
  onLinkChange(listener: () => void): () => void;
}

type LinkState = 'open' | 'paused' | 'cut';

export interface MemoryHubOptions extends MemoryChannelOptions {
  readonly clock?: Clock;
  readonly latencyMs?: number;
}

export type MemoryPeerNetwork = PeerNetwork & AsyncDisposable;

/** Small enough that a test reaches the bound, large enough for honest bursts of full messages. */
const defaultOptions: MemoryHubOptions = { maxSendQueueBytes: 4 << 20, maxReceiveQueueBytes: 4 << 20 };

export function createMemoryNetworkHub(options: MemoryHubOptions = defaultOptions): MemoryNetworkHub {
  return new Hub(options);
}

interface Connection {
  readonly channels: Set<MemoryChannel>;
  readonly connectedAtMs: number;
}

class Hub implements MemoryNetworkHub {
  readonly options: MemoryHubOptions;
  readonly nodes = new Map<PeerId, Node>();
  readonly connections = new Map<string, Connection>();
  readonly #cut = new Set<string>();
  readonly #held = new Map<string, (() => void)[]>();
  readonly #linkChanges = new Emitter<void>();
  #joinCount = 0;

  constructor(options: MemoryHubOptions) {
    this.options = options;
  }

  get clock(): Clock {
    return this.options.clock ?? systemClock;
  }

  join(peer: PeerId, options: { readonly fleet?: string } = {}): MemoryPeerNetwork {
    if (this.nodes.has(peer)) throw new TypeError(`${peer} has joined already`);
    this.#joinCount += 1;
    const node = new Node(this, peer, `memory-${this.#joinCount}`, options.fleet ?? '');
    this.nodes.set(peer, node);
    this.#linkChanges.emit();
    return node;
  }

  cutLink(left: PeerId, right: PeerId): void {
    this.#cut.add(linkKey(left, right));
    this.disconnect(left, right);
    this.#linkChanges.emit();
  }

  healLink(left: PeerId, right: PeerId): void {
    this.#cut.delete(linkKey(left, right));
    this.#linkChanges.emit();
  }

  pauseLink(left: PeerId, right: PeerId): void {
    const key = linkKey(left, right);
    if (!this.#held.has(key)) this.#held.set(key, []);
    this.#linkChanges.emit();
  }

  resumeLink(left: PeerId, right: PeerId): void {
    const key = linkKey(left, right);
    const held = this.#held.get(key) ?? [];
    this.#held.delete(key);
    for (const delivery of held) delivery();
    this.#linkChanges.emit();
  }

  dropPeer(peer: PeerId): void {
    const node = this.nodes.get(peer);
    if (node === undefined) return;
    this.nodes.delete(peer);
    for (const other of node.peers()) this.#sever(node, other.peer);
    this.#linkChanges.emit();
  }

  link(left: PeerId, right: PeerId): LinkState {
    const key = linkKey(left, right);
    if (this.#cut.has(key) || !this.nodes.has(left) || !this.nodes.has(right)) return 'cut';
    return this.#held.has(key) ? 'paused' : 'open';
  }

  onLinkChange(listener: () => void): () => void {
    return this.#linkChanges.on(listener);
  }

  connect(left: Node, right: Node): void {
    const key = linkKey(left.self, right.self);
    if (this.connections.has(key)) return;
    this.connections.set(key, { channels: new Set(), connectedAtMs: this.clock.wallMs() });
    left.changes.emit({ kind: 'connected', peer: right.self });
    right.changes.emit({ kind: 'connected', peer: left.self });
  }

  disconnect(left: PeerId, right: PeerId): void {
    const node = this.nodes.get(left);
    if (node !== undefined) this.#sever(node, right);
  }

  /** Runs a delivery after the link's latency; a paused link keeps it. */
  deliver(left: PeerId, right: PeerId): Deliver {
    const key = linkKey(left, right);
    return (delivery) => {
      const arrive = () => {
        const held = this.#held.get(key);
        if (held === undefined) delivery();
        else held.push(delivery);
      };
      if (this.options.clock === undefined) queueMicrotask(arrive);
      else this.options.clock.schedule(this.options.latencyMs ?? 0, arrive);
    };
  }

  #sever(node: Node, other: PeerId): void {
    const key = linkKey(node.self, other);
    const connection = this.connections.get(key);
    if (connection === undefined) return;
    this.connections.delete(key);
    for (const channel of connection.channels) channel.end(false);
    node.changes.emit({ kind: 'disconnected', peer: other });
    this.nodes.get(other)?.changes.emit({ kind: 'disconnected', peer: node.self });
  }
}

class Node implements MemoryPeerNetwork {
  readonly self: PeerId;
  readonly host: string;
  readonly fleet: string;
  readonly banned: BannedPeers;
  readonly handlers = new Map<string, (channel: Channel) => void>();
  readonly changes = new Emitter<PeerChange>();
  readonly #hub: Hub;

  constructor(hub: Hub, self: PeerId, host: string, fleet: string) {
    this.#hub = hub;
    this.self = self;
    this.host = host;
    this.banned = new BannedPeers(hub.clock);
    this.fleet = fleet;
  }

  addresses(): readonly string[] {
    return [`/dns4/${this.host}/tcp/5002/p2p/${this.self}`];
  }

  peers(): readonly ConnectedPeer[] {
    return [...this.#hub.nodes.keys()].flatMap((peer) => this.findPeer(peer) ?? []);
  }

  findPeer(peer: PeerId): ConnectedPeer | undefined {
    const connection = this.#hub.connections.get(linkKey(this.self, peer));
    const host = this.#hub.nodes.get(peer)?.host ?? 'memory';
    return connection === undefined ? undefined : { peer, host, connectedAtMs: connection.connectedAtMs };
  }

  async dial(address: string, signal: AbortSignal): Promise<PeerId> {
    signal.throwIfAborted();
    const parts = /^\/dns4\/([^/]+)\/tcp\/5002(?:\/p2p\/([^/]+))?$|^([^/]+):5002$/.exec(address);
    const host = parts?.[1] ?? parts?.[3];
    const target = [...this.#hub.nodes.values()].find((node) => node.host === host);
    if (target === undefined || target === this) throw unreachable(address, target === this ? 'self' : 'dial');
    if (parts?.[2] !== undefined && parts[2] !== target.self) throw untrusted(target.self);
    await this.#connect(target, signal);
    return target.self;
  }

  async openChannel(peer: PeerId, protocol: string, signal: AbortSignal): Promise<Channel> {
    signal.throwIfAborted();
    const target = this.#hub.nodes.get(peer);
    if (target === undefined || target === this) throw unreachable(peer);
    await this.#connect(target, signal);
    await this.#roundTrip(target, signal);
    const connection = this.#hub.connections.get(linkKey(this.self, peer));
    const accept = target.handlers.get(protocol);
    if (connection === undefined || accept === undefined) throw unreachable(peer);
    const deliver = this.#hub.deliver(this.self, peer);
    const local = new MemoryChannel(peer, deliver, this.#hub.options);
    const remote = new MemoryChannel(this.self, deliver, this.#hub.options);
    MemoryChannel.join(local, remote);
    for (const channel of [local, remote]) {
      connection.channels.add(channel);
      channel.onClose(() => connection.channels.delete(channel));
    }
    accept(remote);
    return local;
  }

  handle(protocol: string, accept: (channel: Channel) => void): () => void {
    if (this.handlers.has(protocol)) throw new TypeError(`${protocol} is served already`);
    this.handlers.set(protocol, accept);
    return () => this.handlers.delete(protocol);
  }

  ban(peer: PeerId, forMs: number): void {
    this.banned.add(peer, forMs);
    this.#hub.disconnect(this.self, peer);
  }

  onPeerChange(listener: (change: PeerChange) => void): () => void {
    return this.changes.on(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#hub.dropPeer(this.self);
  }

  async #connect(target: Node, signal: AbortSignal): Promise<void> {
    if (this.#hub.connections.has(linkKey(this.self, target.self))) return;
    if (this.#hub.link(this.self, target.self) === 'cut') throw unreachable(target.self);
    await this.#roundTrip(target, signal);
    if (this.#hub.link(this.self, target.self) === 'cut') throw unreachable(target.self);
    const isRefused = target.banned.has(this.self) || this.fleet !== target.fleet;
    if (this.banned.has(target.self)) throw untrusted(target.self, 'banned');
    if (isRefused) throw untrusted(target.self);
    this.#hub.connect(this, target);
  }

  #roundTrip(target: Node, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
      this.#hub.deliver(
        this.self,
        target.self,
      )(() => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      });
    });
  }
}

function linkKey(left: PeerId, right: PeerId): string {
  return left < right ? `${left} ${right}` : `${right} ${left}`;
}

function unreachable(peer: string, reason = 'dial'): PeerError {
  return new PeerError('PEER_UNREACHABLE', `cannot reach ${peer}`, { details: { peer, reason } });
}

function untrusted(peer: PeerId, reason = 'handshake'): PeerError {
  return new PeerError('PEER_UNTRUSTED', `${peer} is not of this fleet or is banned`, { details: { peer, reason } });
}
