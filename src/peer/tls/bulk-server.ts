import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import { isCode, toError } from '../../lib/errors.ts';
import { joinSignals } from '../../lib/join-signals.ts';
import type { Logger } from '../../lib/logger.ts';
import { raceAbort } from '../../lib/race-abort.ts';
import { TaskGroup } from '../../lib/task-group.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { BulkAddress, PieceRun, PieceSource } from '../bulk.ts';
import { PeerError } from '../errors.ts';
import type { PeerIdentity } from '../identity.ts';
import { BufferPool } from './buffer-pool.ts';
import { type BulkServerMetrics, createBulkServerMetrics } from './bulk-metrics.ts';
import { findRange, findRunRequest, type RunRequest, retryAfterHeader } from './bulk-request.ts';
import { bulkProtocol, createCredentials, findSocketPeer, tlsOptions } from './certificate.ts';
import { maxRunPieces, packPieces, piecesHeader } from './piece-header.ts';
import { buffersPerRun, RunSender } from './run-sender.ts';

export interface BulkServerDeps {
  readonly identity: PeerIdentity;
  readonly source: PieceSource;
  /** Whether a peer is of the fleet and not banned; asked for every request. */
  isMember(peer: PeerId): boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface BulkServerOptions {
  readonly listen: BulkAddress;
  readonly maxConnections: number;
  /** Runs being opened or sent, from all peers; each holds up to three buffers. */
  readonly maxRequests: number;
  readonly maxRequestsPerPeer: number;
  /** Size of one read and one write. */
  readonly chunkBytes: number;
  readonly handshakeTimeoutMs: number;
  /** For the whole head of a request. */
  readonly headersTimeoutMs: number;
  /** How long a connection is kept between requests. */
  readonly keepAliveMs: number;
  /** Longest time in which a peer takes no byte. */
  readonly stallTimeoutMs: number;
  /** Longest time one run may take. */
  readonly transferTimeoutMs: number;
  /** What a peer is told to wait when this server, and not its source, is full. */
  readonly retryAfterMs: number;
  /** How long unused buffers are kept. */
  readonly bufferIdleMs: number;
}

export interface BulkServer extends AsyncDisposable {
  readonly address: BulkAddress;
}

/** The longest honest request head is under 1 KiB. */
const maxRequestHeadBytes = 4096;

/**
 * Starts the sending half of the bulk plane: HTTPS whose clients prove their peer ID before the first byte of HTTP is read.
 * @throws PEER_LISTEN
 */
export async function startBulkServer(deps: BulkServerDeps, options: BulkServerOptions): Promise<BulkServer> {
  const credentials = await createCredentials(deps.identity, deps.clock);
  const server = createServer({
    ...credentials,
    ...tlsOptions,
    ALPNProtocols: [bulkProtocol],
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: options.handshakeTimeoutMs,
    maxHeaderSize: maxRequestHeadBytes,
    headersTimeout: options.headersTimeoutMs,
    requestTimeout: options.headersTimeoutMs,
    connectionsCheckingInterval: Math.min(options.headersTimeoutMs, 5000),
    keepAliveTimeout: options.keepAliveMs,
    noDelay: true,
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
  readonly #tasks: TaskGroup;
  readonly #peers = new WeakMap<object, PeerId>();
  readonly #sockets = new Set<TLSSocket>();
  readonly #active = new Map<PeerId, number>();
  #activeCount = 0;

  constructor(server: Server, deps: BulkServerDeps, options: BulkServerOptions) {
    this.#server = server;
    this.#deps = deps;
    this.#options = options;
    this.#metrics = createBulkServerMetrics(deps.metrics);
    const maxBytes = options.maxRequests * buffersPerRun * options.chunkBytes;
    this.#pool = new BufferPool(deps.clock, { maxBytes, idleMs: options.bufferIdleMs });
    this.#tasks = new TaskGroup((error) => deps.logger.warn({ err: error }, 'bulk server task failed'));
    this.#admitBeforeHttp();
    server.on('request', (request, response) => this.#tasks.run((signal) => this.#serve(request, response, signal)));
    server.on('error', (error) => deps.logger.warn({ err: error }, 'bulk server failed'));
  }

  get address(): BulkAddress {
    const { address, port } = this.#server.address() as AddressInfo;
    return { host: address, port };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await this.#tasks.stop();
    await closed;
    this.#pool.trim();
  }

  /** node's HTTP parser attaches to a socket in its own 'secureConnection' listener; that one now comes behind the certificate check. */
  #admitBeforeHttp(): void {
    const startHttp = this.#server.listeners('secureConnection');
    this.#server.removeAllListeners('secureConnection');
    this.#server.on('secureConnection', (socket: TLSSocket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      const peer = findSocketPeer(socket, this.#deps.clock);
      if (peer === undefined) {
        socket.on('error', () => {});
        this.#metrics.refusedConnections.add(1);
        socket.destroy();
        return;
      }
      this.#peers.set(socket, peer);
      for (const listener of startHttp) listener.call(this.#server, socket);
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse, stopping: AbortSignal): Promise<void> {
    const peer = this.#peers.get(request.socket);
    const asked = findRunRequest(request.url ?? '');
    if (peer === undefined || !this.#deps.isMember(peer)) {
      response.setHeader('connection', 'close');
      return this.#reply(response, 403, 'stranger');
    }
    if (request.method !== 'GET') return this.#reply(response, 405, 'invalid');
    if (asked === undefined || asked.count > maxRunPieces) return this.#reply(response, 400, 'invalid');
    const active = this.#active.get(peer) ?? 0;
    if (active >= this.#options.maxRequestsPerPeer || this.#activeCount >= this.#options.maxRequests) {
      return this.#reply(response, 503, 'busy', this.#options.retryAfterMs);
    }
    this.#count(peer, 1);
    const gone = new AbortController();
    const onClose = () => gone.abort(new PeerError('PEER_CUT', 'the peer left', { details: { peer } }));
    response.once('close', onClose);
    using joined = joinSignals(stopping, gone.signal);
    try {
      await this.#serveRun(peer, asked, request, response, joined.signal);
    } finally {
      response.off('close', onClose);
      this.#count(peer, -1);
    }
  }

  async #serveRun(
    peer: PeerId,
    asked: RunRequest,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const opening = this.#deps.source.openPieces(peer, asked.digest, asked.first, asked.count, signal);
    let run: PieceRun;
    try {
      run = await raceAbort(opening, signal);
    } catch (error) {
      // A source that opens the run after all must get its slot back.
      if (signal.aborted) opening.then((late) => late.release(0)).catch(() => {});
      this.#replyFailure(response, peer, error, signal);
      return;
    }
    let sentBytes = 0;
    const transfer = new AbortController();
    const sender = new RunSender(run, response, this.#pool, this.#options.chunkBytes, (count) => {
      sentBytes += count;
      this.#metrics.sentBytes.add(count);
    });
    const stopWatching = this.#watch(() => (sender.isWaitingForPeer ? sentBytes : undefined), transfer);
    using joined = joinSignals(signal, transfer.signal);
    try {
      signal.throwIfAborted();
      const range = request.headers.range === undefined ? run : findRange(request.headers.range);
      if (range?.start !== run.start || range.end !== run.end) {
        response.setHeader('content-range', `bytes */${run.blob.sizeBytes}`);
        this.#reply(response, 416, 'range');
        return;
      }
      response.writeHead(206, runHeaders(run));
      // Alone on the wire: joined with the first chunk, TLS would copy both into one buffer.
      response.flushHeaders();
      await sender.send(joined.signal);
      response.end();
      this.#metrics.requests.add(1, { outcome: 'sent' });
    } catch (error) {
      this.#metrics.requests.add(1, { outcome: signal.aborted ? 'cut' : 'failed' });
      if (!signal.aborted) this.#deps.logger.debug({ peer, digest: asked.digest, err: toError(error) }, 'run not sent');
      response.destroy();
    } finally {
      stopWatching();
      run.release(sentBytes);
    }
  }

  /** Cuts a transfer that stands still or takes for ever. */
  #watch(progress: () => number | undefined, transfer: AbortController): () => void {
    const { clock } = this.#deps;
    const { stallTimeoutMs, transferTimeoutMs } = this.#options;
    let seen: number | undefined;
    let cancelStall: () => void;
    const checkLater = () => {
      cancelStall = clock.schedule(stallTimeoutMs, () => {
        const now = progress();
        if (now !== undefined && now === seen) transfer.abort(new Error('the peer takes no bytes'));
        seen = now;
        checkLater();
      });
    };
    checkLater();
    const cancelTotal = clock.schedule(transferTimeoutMs, () => transfer.abort(new Error('the run takes too long')));
    return () => {
      cancelStall();
      cancelTotal();
    };
  }

  #count(peer: PeerId, change: number): void {
    this.#activeCount += change;
    const active = (this.#active.get(peer) ?? 0) + change;
    if (active === 0) this.#active.delete(peer);
    else this.#active.set(peer, active);
    this.#metrics.activeRequests.set(this.#activeCount);
  }

  #replyFailure(response: ServerResponse, peer: PeerId, error: unknown, signal: AbortSignal): void {
    if (signal.aborted) {
      this.#metrics.requests.add(1, { outcome: 'cut' });
      response.destroy();
    } else if (isCode(error, 'PEER_ABSENT')) {
      this.#reply(response, 404, 'absent');
    } else if (isCode(error, 'PEER_BUSY')) {
      const { retryAfterMs } = error.details;
      this.#reply(response, 503, 'busy', typeof retryAfterMs === 'number' ? retryAfterMs : this.#options.retryAfterMs);
    } else {
      this.#deps.logger.warn({ peer, err: toError(error) }, 'cannot open pieces for a peer');
      this.#reply(response, 500, 'failed');
    }
  }

  #reply(response: ServerResponse, status: number, outcome: string, retryAfterMs?: number): void {
    this.#metrics.requests.add(1, { outcome });
    if (retryAfterMs !== undefined) response.setHeader(retryAfterHeader, String(Math.ceil(retryAfterMs)));
    response.writeHead(status, { 'content-length': '0' }).end();
  }
}

function runHeaders(run: PieceRun): Record<string, string> {
  return {
    'content-type': 'application/octet-stream',
    'content-length': String(run.end - run.start),
    'content-range': `bytes ${run.start}-${run.end - 1}/${run.blob.sizeBytes}`,
    [piecesHeader]: packPieces(run.pieces),
  };
}
