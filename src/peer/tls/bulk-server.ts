import type { AddressInfo, Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { PeerId } from '../../content/peer-id.ts';
import { BufferPool } from '../../lib/buffer-pool.ts';
import type { Clock } from '../../lib/clock.ts';
import { toError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { BulkAddress, PieceSource } from '../bulk.ts';
import { PeerError } from '../errors.ts';
import type { PeerIdentity } from '../identity.ts';
import { type BulkServerMetrics, createBulkServerMetrics } from './bulk-metrics.ts';
import { BulkServerConnection, type ServerConnectionOptions } from './bulk-server-connection.ts';
import { BulkService, type BulkServiceOptions } from './bulk-service.ts';
import { bulkProtocol, createCredentials, findSocketPeer, tlsOptions } from './certificate.ts';
import { keepAliveAfterMs } from './keep-alive.ts';
import { buffersPerRun } from './run-sender.ts';
import { UnprovedSockets, type UnprovedSocketsOptions } from './unproved-sockets.ts';

export interface BulkServerDeps {
  readonly identity: PeerIdentity;
  readonly source: PieceSource;
  /** Whether a peer is of the fleet and not banned; asked for every connection and every request. */
  isMember(peer: PeerId): boolean;
  /**
   * Other protocols on the same port, by their ALPN name. Each takes over sockets whose peer is proven, and nothing more: it
   * may not be a member yet, and no byte has been read. The server still counts them and destroys them when it stops.
   */
  readonly protocols?: ReadonlyMap<string, (socket: TLSSocket, peer: PeerId) => void>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface BulkServerOptions extends BulkServiceOptions, ServerConnectionOptions, UnprovedSocketsOptions {
  readonly listen: BulkAddress;
  readonly maxConnections: number;
  /** Those of other protocols included. */
  readonly maxConnectionsPerPeer: number;
  /** How long a peer that is no member may have a connection: who dials is admitted one message before the other side. */
  readonly admissionGraceMs: number;
  readonly handshakeTimeoutMs: number;
  /** How long unused buffers are kept. */
  readonly bufferIdleMs: number;
}

export interface BulkServer extends AsyncDisposable {
  readonly address: BulkAddress;
}

/** How often times are checked within the shortest of them: none is exceeded by more than a quarter of that one. */
const checksPerTimeout = 4;

/**
 * Starts the sending half of the bulk plane: HTTP/1.1 on TLS, whose clients prove their peer ID before the first byte of HTTP is
 * read. The HTTP is our own, the subset that docs/protocol.md has: node's took a sixth of a busy node's main thread.
 * @throws PEER_LISTEN
 */
export async function startBulkServer(deps: BulkServerDeps, options: BulkServerOptions): Promise<BulkServer> {
  const credentials = await createCredentials(deps.identity, deps.clock);
  const server = createServer({
    ...credentials,
    ...tlsOptions,
    ALPNProtocols: [bulkProtocol, ...(deps.protocols?.keys() ?? [])],
    requestCert: true,
    // There is no CA: the certificate is checked for the peer ID in it.
    rejectUnauthorized: false,
    handshakeTimeout: options.handshakeTimeoutMs,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: keepAliveAfterMs,
  });
  server.maxConnections = options.maxConnections;
  const bulk = new TlsBulkServer(server, deps, options);
  await new Promise<void>((resolve, reject) => {
    const { host, port } = options.listen;
    server.once('error', (cause) => {
      const message = `cannot listen for bulk transfers on ${host}:${port}`;
      reject(new PeerError('PEER_LISTEN', message, { cause, details: { host, port } }));
    });
    server.listen(port, host, resolve);
  });
  return bulk;
}

class TlsBulkServer implements BulkServer {
  readonly #server: Server;
  readonly #deps: BulkServerDeps;
  readonly #options: BulkServerOptions;
  readonly #metrics: BulkServerMetrics;
  readonly #pool: BufferPool;
  readonly #service: BulkService;
  /** All of them, those in the handshake and those of other protocols included. */
  readonly #sockets = new Set<Socket>();
  readonly #unproved: UnprovedSockets;
  /** Those whose peer is proved, oldest first. */
  readonly #socketsByPeer = new Map<PeerId, Set<Socket>>();
  readonly #connections = new Map<Socket, BulkServerConnection>();
  #cancelCheck: (() => void) | undefined;

  constructor(server: Server, deps: BulkServerDeps, options: BulkServerOptions) {
    this.#server = server;
    this.#deps = deps;
    this.#options = options;
    this.#metrics = createBulkServerMetrics(deps.metrics);
    const maxBytes = options.maxRequests * buffersPerRun * options.chunkBytes;
    this.#pool = new BufferPool(deps.clock, { maxBytes, idleMs: options.bufferIdleMs });
    this.#unproved = new UnprovedSockets(options);
    const { source, logger } = deps;
    const isMember = (peer: PeerId) => deps.isMember(peer);
    this.#service = new BulkService({ source, isMember, logger, metrics: this.#metrics, pool: this.#pool }, options);
    server.on('connection', (socket: Socket) => {
      this.#track(socket);
      if (!this.#unproved.add(socket)) this.#refuse(socket);
    });
    server.on('secureConnection', (socket) => {
      this.#track(socket);
      // The event comes from inside of OpenSSL's read, which does not survive a socket that is taken down in it.
      setImmediate(() => this.#admit(socket));
    });
    server.on('tlsClientError', (_error, socket) => socket.destroy());
    server.on('error', (error) => deps.logger.warn({ err: error }, 'bulk server failed'));
  }

  get address(): BulkAddress {
    const { address, port } = this.#server.address() as AddressInfo;
    return { host: address, port };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const reason = new DOMException('the bulk server stopped', 'AbortError');
    for (const connection of this.#connections.values()) connection.cut(reason);
    // As above: whoever stops the server may do so in something that came from one of its sockets.
    await new Promise((resolve) => setImmediate(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await this.#service.stop();
    await closed;
    this.#cancelCheck?.();
    this.#pool.trim();
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    // 'close' follows; whoever serves the socket may listen as well.
    socket.on('error', () => {});
    socket.once('close', () => this.#sockets.delete(socket));
  }

  /** Nothing has been read yet, and nothing is before the certificate is checked. */
  #admit(socket: TLSSocket): void {
    if (socket.destroyed) return;
    const peer = findSocketPeer(socket, this.#deps.clock);
    if (peer === undefined || !this.#hasRoom(peer)) {
      this.#refuse(socket);
      return;
    }
    this.#count(socket, peer);
    this.#awaitMembership(socket, peer);
    const takeOver = this.#deps.protocols?.get(socket.alpnProtocol || bulkProtocol);
    if (takeOver === undefined) this.#serve(socket, peer);
    else this.#handOver(socket, peer, takeOver);
  }

  #refuse(socket: Socket): void {
    this.#metrics.refusedConnections.add(1);
    socket.destroy();
  }

  /** Makes room for one more connection of a peer, if need be with one that it does not use; false when it uses all. */
  #hasRoom(peer: PeerId): boolean {
    const sockets = this.#socketsByPeer.get(peer);
    if (sockets === undefined || sockets.size < this.#options.maxConnectionsPerPeer) return true;
    const unused = [...sockets].find((socket) => this.#connections.get(socket)?.isIdle === true);
    if (unused === undefined) return false;
    // Its client asks again elsewhere when a request was on its way.
    this.#connections.get(unused)?.cut(new DOMException('the peer has newer connections', 'AbortError'));
    sockets.delete(unused);
    return true;
  }

  #count(socket: Socket, peer: PeerId): void {
    const sockets = this.#socketsByPeer.get(peer) ?? new Set();
    this.#socketsByPeer.set(peer, sockets.add(socket));
    socket.once('close', () => {
      sockets.delete(socket);
      if (sockets.size === 0 && this.#socketsByPeer.get(peer) === sockets) this.#socketsByPeer.delete(peer);
    });
  }

  /** Until its peer is a member a connection counts as one of a stranger, and does not stay for long. */
  #awaitMembership(socket: Socket, peer: PeerId): void {
    const isMember = () => this.#deps.isMember(peer);
    if (isMember()) {
      this.#unproved.prove(socket);
      return;
    }
    const cancel = this.#deps.clock.schedule(this.#options.admissionGraceMs, () => {
      if (isMember()) this.#unproved.prove(socket);
      else this.#refuse(socket);
    });
    socket.once('close', cancel);
  }

  #serve(socket: TLSSocket, peer: PeerId): void {
    const connection = new BulkServerConnection(socket, peer, this.#deps.clock, this.#options, this.#service);
    this.#connections.set(socket, connection);
    socket.once('close', () => this.#connections.delete(socket));
    if (this.#cancelCheck === undefined) this.#checkLater();
  }

  #handOver(socket: TLSSocket, peer: PeerId, takeOver: (socket: TLSSocket, peer: PeerId) => void): void {
    try {
      takeOver(socket, peer);
    } catch (error) {
      this.#deps.logger.warn({ peer, err: toError(error) }, 'a connection of another protocol was not taken over');
      socket.destroy();
    }
  }

  /** Of the idle connections of a member the oldest stays: its next pull begins on it. */
  #mayStay(connection: BulkServerConnection): boolean {
    const { peer } = connection;
    for (const socket of this.#socketsByPeer.get(peer) ?? []) {
      const other = this.#connections.get(socket);
      if (other?.isIdle === true) return other === connection && this.#deps.isMember(peer);
    }
    return false;
  }

  /** One timer for all connections, and none while there is no connection. */
  #checkLater(): void {
    const { headersTimeoutMs, keepAliveMs, stallTimeoutMs, transferTimeoutMs } = this.#options;
    const shortestMs = Math.min(headersTimeoutMs, keepAliveMs, stallTimeoutMs, transferTimeoutMs);
    this.#cancelCheck = this.#deps.clock.schedule(shortestMs / checksPerTimeout, () => {
      const nowMs = this.#deps.clock.nowMs();
      for (const connection of this.#connections.values()) connection.check(nowMs, () => this.#mayStay(connection));
      this.#cancelCheck = undefined;
      if (this.#connections.size > 0) this.#checkLater();
    });
  }
}
