import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { fastify } from 'fastify';
import type { Images } from '../image/images.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type AnswerDeps, answerRequest } from './answer.ts';
import { BufferPool } from './buffer-pool.ts';
import { refuseConnection } from './client-error.ts';
import { Exchange } from './exchange.ts';
import { createRegistryMetrics } from './metrics.ts';
import type { RegistryOptions } from './options.ts';
import { readTarget } from './route.ts';

export interface RegistryDeps {
  readonly images: Images;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface Registry extends AsyncDisposable {
  /** Where it listens: the port that was free when 0 was asked for. */
  readonly address: { readonly host: string; readonly port: number };
}

/** Node looks for connections past their time this often at most; a tenth of the time that is meant, and not less than this. */
const minCheckMs = 50;
/** Requests that a client may send on one connection before the first of them is answered; real ones send one. */
const maxWaitingRequests = 32;

/** Listens for container clients. Disposing stops listening, lets running answers end, and cuts those that do not in time. */
export async function startRegistry(deps: RegistryDeps, options: RegistryOptions): Promise<Registry> {
  const { clock, logger } = deps;
  const metrics = createRegistryMetrics(deps.metrics);
  const answerDeps: AnswerDeps = { ...deps, metrics, pool: new BufferPool(options.buffers) };
  const answering = new Map<Socket, { last: Promise<void>; waiting: number }>();
  // Drawn once: randomness for every request costs more than all else that is ours on a HEAD.
  const lifeId = randomBytes(6).toString('base64url');
  let requests = 0;
  let isStopping = false;

  const app = fastify({
    logger: false,
    requestIdHeader: false,
    requestTimeout: options.requestTimeoutMs,
    keepAliveTimeout: options.idleTimeoutMs,
    return503OnClosing: false,
    // The router looks at nothing but what it must: the path is read by readTarget, as it came.
    frameworkErrors: (_error, request, reply) => take(request.raw, reply.hijack().raw),
    clientErrorHandler: (error, socket) => {
      metrics.refusedConnections.add(1, { reason: refuseConnection(error, socket, answering.has(socket)) });
    },
    http: {
      maxHeaderSize: options.maxHeaderBytes,
      headersTimeout: Math.min(options.headersTimeoutMs, options.requestTimeoutMs),
      connectionsCheckingInterval: Math.max(
        minCheckMs,
        Math.min(options.headersTimeoutMs, options.requestTimeoutMs) / 10,
      ),
      noDelay: true,
    },
  });
  const { server } = app;
  server.maxConnections = options.maxConnections;
  server.on('connection', (socket: Socket) => {
    countConnections();
    socket.on('close', countConnections);
  });
  server.on('drop', () => metrics.refusedConnections.add(1, { reason: 'full' }));
  // A push is refused before its body is invited.
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    server.emit('request', request, response);
  });

  function countConnections(): void {
    server.getConnections((error, count) => {
      if (error === null) metrics.connections.set(count);
    });
  }

  /**
   * Takes a request over from fastify; requests that a client sends without waiting are answered one after the other, and one that
   * sends more than anybody has use for is cut off, since each of them takes memory until its turn.
   */
  function take(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    // The parser goes on to the end of what it has read.
    if (socket.destroyed) return;
    const queue = answering.get(socket) ?? { last: Promise.resolve(), waiting: -1 };
    if (queue.waiting >= maxWaitingRequests) {
      metrics.refusedConnections.add(1, { reason: 'flood' });
      socket.destroy();
      return;
    }
    // The first is answered at once and does not wait.
    queue.waiting += 1;
    const turn = queue.last.then(() => answer(request, response));
    queue.last = turn;
    answering.set(socket, queue);
    void turn.then(() => {
      queue.waiting -= 1;
      if (queue.last === turn) answering.delete(socket);
    });
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = clock.nowMs();
    const { socket } = request;
    // A request that waited for its turn may find the connection gone; its response would never close by itself.
    if (socket.destroyed) return;
    const ended = Promise.withResolvers<void>();
    const gone = new AbortController();
    const end = () => {
      if (!response.writableFinished) gone.abort(new DOMException('the client is gone', 'AbortError'));
      ended.resolve();
    };
    response.once('close', end);
    socket.once('close', end);
    requests += 1;
    const requestId = `${lifeId}-${requests.toString(36)}`;
    const target = readTarget(request.url ?? '');
    const exchange = new Exchange(request, response, requestId, gone.signal);
    if (isStopping) response.shouldKeepAlive = false;
    await answerRequest(answerDeps, options, exchange, target);
    // What is left is in memory; a client that does not take it must not keep it there.
    let isCut = false;
    const cancel = clock.schedule(options.stallTimeoutMs, () => {
      // Node up to 24.19 takes what was lost with the socket for sent.
      isCut = true;
      socket.destroy();
    });
    await ended.promise;
    cancel();
    socket.off('close', end);
    if (isStopping) socket.destroySoon();

    const route = target.route.kind;
    const durationMs = clock.nowMs() - startedMs;
    const method = request.method === 'GET' || request.method === 'HEAD' ? request.method : 'other';
    const status = !isCut && response.writableFinished ? String(response.statusCode) : 'cut';
    metrics.requests.add(1, { route, method, status });
    metrics.requestSeconds.observe(durationMs / 1000, { route });
    logger.debug({ requestId, method: request.method, url: request.url, status, durationMs }, 'request answered');
  }

  // Bodies stay unread: no parser may wait for one.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.all('*', (request, reply) => take(request.raw, reply.hijack().raw));
  app.setNotFoundHandler((request, reply) => take(request.raw, reply.hijack().raw));

  const { host, port } = options.listen;
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    throw error;
  }
  const bound = server.address() as AddressInfo;
  return {
    address: { host: bound.address, port: bound.port },
    async [Symbol.asyncDispose]() {
      isStopping = true;
      const cancel = clock.schedule(options.drainTimeoutMs, () => server.closeAllConnections());
      const closed = app.close();
      server.closeIdleConnections();
      await closed;
      cancel();
      await Promise.allSettled([...answering.values()].map(({ last }) => last));
    },
  };
}
