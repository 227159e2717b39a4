import type {
  Connection,
  ConnectionGater,
  Libp2p,
  PeerId as Libp2pPeerId,
  ServiceMap,
  Stream,
} from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';
import { findPeerId, type PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import { delay } from '../../lib/clock.ts';
import { Emitter } from '../../lib/emitter.ts';
import { joinSignals } from '../../lib/join-signals.ts';
import type { Logger } from '../../lib/logger.ts';
import { raceAbort } from '../../lib/race-abort.ts';
import { TaskGroup } from '../../lib/task-group.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { BannedPeers } from '../banned-peers.ts';
import { PeerError } from '../errors.ts';
import type { PeerIdentity } from '../identity.ts';
import { createPeerMetrics, type PeerMetrics } from '../peer-metrics.ts';
import type { Channel, ConnectedPeer, PeerChange, PeerNetwork } from '../peer-network.ts';
import { findDialAddress } from './address.ts';
import { toDialError } from './dial-error.ts';
import { InboundStreams } from './inbound-streams.ts';
import { type BaseServices, type NodeOptions, startLibp2pNode } from './libp2p-node.ts';
import { Session, type SessionOptions, sessionProtocol } from './session.ts';
import { SessionTable } from './session-table.ts';
import { type ChannelOptions, StreamChannel } from './stream-channel.ts';

export interface Libp2pNetworkDeps {
  readonly identity: PeerIdentity;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface Libp2pNetworkOptions<Services extends ServiceMap>
  extends NodeOptions<Services>,
    SessionOptions,
    ChannelOptions {
  /** Channels of one protocol a peer may open here. */
  readonly maxChannelsPerPeer: number;
}

export type Libp2pPeerNetwork<Services extends ServiceMap> = PeerNetwork &
  AsyncDisposable & {
    readonly services: BaseServices & Services;
    /** What the hello of a connected peer said. */
    peerVersion(peer: PeerId): string | undefined;
  };

/**
 * Starts the control plane: libp2p over TCP, Noise bound to the fleet secret, yamux.
 * @throws PEER_LISTEN
 */
export async function startLibp2pPeerNetwork<Services extends ServiceMap>(
  deps: Libp2pNetworkDeps,
  options: Libp2pNetworkOptions<Services>,
): Promise<Libp2pPeerNetwork<Services>> {
  const banned = new BannedPeers(deps.clock);
  const node = await startLibp2pNode(deps.identity, gater(banned), options);
  const network = new Libp2pNetwork(node, banned, deps, options);
  try {
    await network.open();
  } catch (error) {
    await network[Symbol.asyncDispose]();
    throw error;
  }
  return network;
}

function gater(banned: BannedPeers): ConnectionGater {
  const isDenied = (id: Libp2pPeerId) => {
    const peer = findPeerId(id.toString());
    return peer === undefined || banned.has(peer);
  };
  return {
    denyDialPeer: isDenied,
    denyDialMultiaddr: () => false,
    denyInboundEncryptedConnection: isDenied,
    denyOutboundEncryptedConnection: isDenied,
  };
}

/** For a channel, and the connection it may need first. libp2p has a time of its own for this only when it is given no signal. */
const openTimeoutMs = 10_000;

/** Those that still greet included. */
const maxSessionsPerPeer = 3;

class Libp2pNetwork<Services extends ServiceMap> implements Libp2pPeerNetwork<Services> {
  readonly self: PeerId;
  readonly services: BaseServices & Services;
  readonly #node: Libp2p<BaseServices & Services>;
  readonly #banned: BannedPeers;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #options: Libp2pNetworkOptions<Services>;
  readonly #metrics: PeerMetrics;
  readonly #tasks: TaskGroup;
  readonly #table: SessionTable;
  /** By connection; greeting and admitted ones. */
  readonly #sessions = new Map<string, Session>();
  /** Sessions by the address they were dialled at, so that dialling it again opens nothing. */
  readonly #dialled = new Map<string, Session>();
  readonly #inbound: InboundStreams;
  readonly #changes = new Emitter<PeerChange>();
  readonly #onOpen = (event: CustomEvent<Connection>) => this.#onConnection(event.detail);

  constructor(
    node: Libp2p<BaseServices & Services>,
    banned: BannedPeers,
    deps: Libp2pNetworkDeps,
    options: Libp2pNetworkOptions<Services>,
  ) {
    this.self = deps.identity.peerId;
    this.services = node.services;
    this.#node = node;
    this.#banned = banned;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#options = options;
    this.#metrics = createPeerMetrics(deps.metrics);
    this.#tasks = new TaskGroup((error) => deps.logger.warn({ err: error }, 'peer network task failed'));
    this.#table = new SessionTable(this.self);
    this.#inbound = new InboundStreams(options.maxChannelsPerPeer);
  }

  async open(): Promise<void> {
    this.#node.addEventListener('connection:open', this.#onOpen);
    await this.#node.handle(sessionProtocol, (stream, connection) => {
      const session = this.#sessions.get(connection.id);
      if (session === undefined) stream.abort(new Error('no session for this connection'));
      else session.accept(stream);
    });
    for (const connection of this.#node.getConnections()) this.#onConnection(connection);
    this.#tasks.run((signal) => this.#closeSurplus(signal));
  }

  addresses(): readonly string[] {
    return this.#node.getMultiaddrs().map((address) => address.toString());
  }

  peers(): readonly ConnectedPeer[] {
    return this.#table.peers().flatMap((peer) => this.findPeer(peer) ?? []);
  }

  findPeer(peer: PeerId): ConnectedPeer | undefined {
    const session = this.#table.of(peer)[0];
    return session === undefined ? undefined : { peer, host: session.host, connectedAtMs: session.connectedAtMs };
  }

  peerVersion(peer: PeerId): string | undefined {
    return this.#table.of(peer)[0]?.peerVersion;
  }

  async dial(address: string, signal: AbortSignal): Promise<PeerId> {
    signal.throwIfAborted();
    const before = this.#dialled.get(address);
    if (before?.isAdmitted === true) return before.peer;
    const target = findDialAddress(address);
    if (target === undefined) {
      throw new PeerError('PEER_UNREACHABLE', `not an address: ${address}`, {
        details: { address, reason: 'address' },
      });
    }
    const session = await this.#connect(address, () => this.#node.dial(target, { signal }), signal);
    this.#dialled.set(address, session);
    return session.peer;
  }

  async openChannel(peer: PeerId, protocol: string, signal: AbortSignal): Promise<Channel> {
    signal.throwIfAborted();
    const deadline = new AbortController();
    using joined = joinSignals(signal, deadline.signal);
    const cancelTimer = this.#clock.schedule(openTimeoutMs, () => {
      const details = { peer, protocol, stage: 'channel' };
      deadline.abort(new PeerError('PEER_STALLED', `${peer} does not take a channel`, { details }));
    });
    try {
      return await this.#open(peer, protocol, joined.signal);
    } finally {
      cancelTimer();
    }
  }

  async #open(peer: PeerId, protocol: string, signal: AbortSignal): Promise<Channel> {
    const session =
      this.#table.preferred(peer) ??
      (await this.#connect(peer, () => this.#node.dial(peerIdFromString(peer), { signal }), signal));
    let stream: Stream;
    try {
      stream = await session.connection.newStream(streamName(protocol), { signal });
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      throw new PeerError('PEER_UNREACHABLE', `cannot open a channel to ${peer}`, {
        cause,
        details: { peer, protocol, reason: 'channel' },
      });
    }
    return this.#createChannel(session, stream);
  }

  handle(protocol: string, accept: (channel: Channel) => void): () => void {
    const name = streamName(protocol);
    const { maxChannelsPerPeer } = this.#options;
    const onStream = async (stream: Stream, connection: Connection) => {
      const session = this.#sessions.get(connection.id);
      if (session !== undefined && !this.#inbound.add(session.peer, name, stream)) {
        stream.abort(new Error('the peer has too many channels'));
        return;
      }
      try {
        // The dialler is admitted one message before us and may be that much faster.
        await session?.admitted;
      } catch {
        // Falls through: the peer was refused and its connection is closing.
      }
      if (session?.isAdmitted === true) accept(this.#createChannel(session, stream));
      else stream.abort(new Error('the peer is not admitted'));
    };
    this.#tasks.run(() => this.#node.handle(name, onStream, { maxInboundStreams: maxChannelsPerPeer }));
    return () => this.#tasks.run(() => this.#node.unhandle(name));
  }

  ban(peer: PeerId, forMs: number): void {
    this.#banned.add(peer, forMs);
    for (const session of this.#sessions.values()) {
      if (session.peer === peer) session.connection.abort(new Error('the peer was banned'));
    }
  }

  onPeerChange(listener: (change: PeerChange) => void): () => void {
    return this.#changes.on(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#node.removeEventListener('connection:open', this.#onOpen);
    await this.#node.stop();
    await this.#tasks.stop();
  }

  async #connect(target: string, dial: () => Promise<Connection>, signal: AbortSignal): Promise<Session> {
    let connection: Connection;
    try {
      connection = await dial();
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      throw toDialError(cause, target);
    }
    const session = this.#sessions.get(connection.id);
    if (session === undefined) {
      throw new PeerError('PEER_UNREACHABLE', `${target} closed the connection at once`, {
        details: { address: target, reason: 'closed' },
      });
    }
    await raceAbort(session.admitted, signal);
    return session;
  }

  #onConnection(connection: Connection): void {
    const peer = findPeerId(connection.remotePeer.toString());
    if (peer === undefined || this.#sessions.has(connection.id) || connection.status !== 'open') return;
    const session = new Session(
      connection,
      peer,
      {
        clock: this.#clock,
        logger: this.#logger,
        metrics: this.#metrics,
        tasks: this.#tasks,
        onAdmitted: () => this.#onAdmitted(session),
        onClosed: () => this.#onClosed(session),
      },
      this.#options,
    );
    this.#sessions.set(connection.id, session);
    this.#limitSessions(peer);
  }

  /** Two are made when both ends dial at once, and one more replaces a dead one. Those of one peer must not take the room of all. */
  #limitSessions(peer: PeerId): void {
    const sessions = [...this.#sessions.values()].filter((session) => session.peer === peer);
    if (sessions.length <= maxSessionsPerPeer) return;
    const preferred = this.#table.preferred(peer);
    const oldest = sessions.find((session) => session !== preferred);
    oldest?.connection.abort(new Error('the peer has too many connections'));
  }

  #onAdmitted(session: Session): void {
    if (!this.#table.add(session)) return;
    this.#metrics.connectedPeers.set(this.#table.size);
    this.#logger.debug({ peer: session.peer, host: session.host, version: session.peerVersion }, 'peer connected');
    this.#changes.emit({ kind: 'connected', peer: session.peer });
  }

  #onClosed(session: Session): void {
    this.#sessions.delete(session.connection.id);
    for (const [address, dialled] of this.#dialled) if (dialled === session) this.#dialled.delete(address);
    if (!this.#table.remove(session)) return;
    this.#metrics.connectedPeers.set(this.#table.size);
    this.#logger.debug({ peer: session.peer, host: session.host }, 'peer disconnected');
    this.#changes.emit({ kind: 'disconnected', peer: session.peer });
  }

  #createChannel(session: Session, stream: Stream): Channel {
    const channel = new StreamChannel(
      {
        peer: session.peer,
        stream,
        clock: this.#clock,
        tasks: this.#tasks,
        metrics: this.#metrics,
        onBytes: () => session.heard(),
      },
      this.#options,
    );
    session.channelCount += 1;
    channel.onClose(() => {
      session.channelCount -= 1;
    });
    return channel;
  }

  /** Two connections to one peer cost pings and handshakes twice; the dialler of the lesser one closes it when nothing uses it. */
  async #closeSurplus(signal: AbortSignal): Promise<void> {
    for (;;) {
      await delay(this.#clock, this.#options.pingIntervalMs, signal);
      for (const session of this.#table.surplus()) session.close();
    }
  }
}

function streamName(protocol: string): string {
  return `/shoal/${protocol}/1`;
}
