import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { fastify } from 'fastify';
import type { Membership } from '../discovery/membership.ts';
import type { Health } from '../health/health.ts';
import type { Images } from '../image/images.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { Swarm } from '../swarm/swarm.ts';
import type {
  ErrorAnswer,
  ExplainAnswer,
  ImagesAnswer,
  PeersAnswer,
  ReadyAnswer,
  StatusAnswer,
  TransfersAnswer,
} from './api.ts';
import { AdminError, toAnswer } from './errors.ts';
import { type ExplainDeps, explainImage } from './explain-image.ts';
import { checkCaller, checkHost } from './guard.ts';
import type { AdminOptions } from './options.ts';
import { listPeers } from './peers.ts';
import { walkPullLines } from './pull-lines.ts';
import { readPullOrder } from './pull-order.ts';

export interface AdminDeps {
  readonly health: Pick<Health, 'conditions' | 'isReady'>;
  /** Writes all metrics in Prometheus' text form. */
  readonly metricsText: () => Promise<string>;
  readonly swarm: Pick<Swarm, 'transfers' | 'peers'>;
  readonly membership: Pick<Membership, 'members'>;
  readonly images: Pick<Images, 'pull' | 'listImages'>;
  readonly status: () => Promise<NodeStatus>;
  readonly explain: Omit<ExplainDeps, 'transfers'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What of the status only the composition root knows. */
type NodeStatus = Pick<StatusAnswer, 'version' | 'peer' | 'startedAtMs' | 'store' | 'origins'>;

export interface Admin extends AsyncDisposable {
  readonly address: { readonly host: string; readonly port: number };
}

/** A reference and a platform at their longest take a tenth of this. */
const maxBodyBytes = 8 * 1024;
/** Small heads only: no cookie and no browser is meant to come here. */
const maxHeaderBytes = 8 * 1024;

/** Listens for operators, probes and scrapers. */
export async function startAdmin(deps: AdminDeps, options: AdminOptions): Promise<Admin> {
  const stopping = new AbortController();
  let pulls = 0;

  const app = fastify({
    logger: false,
    bodyLimit: maxBodyBytes,
    requestTimeout: options.requestTimeoutMs,
    return503OnClosing: false,
    http: {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: options.requestTimeoutMs,
      connectionsCheckingInterval: Math.max(50, options.requestTimeoutMs / 10),
    },
  });
  app.server.maxConnections = options.maxConnections;
  app.removeContentTypeParser('text/plain');

  app.addHook('onRequest', async (request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
    checkHost(request.raw, options.hosts);
    if (request.method !== 'GET' && request.method !== 'HEAD') checkCaller(request.raw, options.token);
  });
  app.setNotFoundHandler((_request, reply) => {
    const { status, error } = toAnswer(new AdminError('ADMIN_NOT_FOUND', 'no such path or method'));
    return reply.code(status).send({ error } satisfies ErrorAnswer);
  });
  app.setErrorHandler((thrown, request, reply) => {
    const isClients = isCallersFault(thrown);
    const known = isClients ? new AdminError('ADMIN_BAD_REQUEST', 'the body is not a small JSON document') : thrown;
    if (!(known instanceof AdminError))
      deps.logger.error({ path: request.routeOptions.url, error: known }, 'request failed');
    const { status, error } = toAnswer(known);
    return reply.code(status).send({ error } satisfies ErrorAnswer);
  });

  app.get('/livez', async () => ({ isLive: true }));
  app.get('/readyz', async (_request, reply): Promise<ReadyAnswer> => {
    const { isReady } = deps.health;
    reply.code(isReady ? 200 : 503);
    return { isReady, conditions: deps.health.conditions() };
  });
  app.get('/metrics', async (_request, reply) => {
    reply.type('text/plain; version=0.0.4; charset=utf-8');
    return await deps.metricsText();
  });
  app.get('/api/v1/status', async (): Promise<StatusAnswer> => {
    const members = deps.membership.members();
    const connected = members.filter(({ isConnected }) => isConnected).length;
    return {
      ...(await deps.status()),
      isReady: deps.health.isReady,
      conditions: deps.health.conditions(),
      peers: { connected, known: members.length },
    };
  });
  app.get(
    '/api/v1/peers',
    async (): Promise<PeersAnswer> => ({
      peers: listPeers(deps.swarm.peers(), deps.membership.members()),
    }),
  );
  app.get('/api/v1/transfers', async (): Promise<TransfersAnswer> => ({ transfers: deps.swarm.transfers() }));
  app.get('/api/v1/explain', async (request): Promise<ExplainAnswer> => {
    const order = readPullOrder(request.query, options.defaultOrigin);
    const sources = { ...deps.explain, transfers: () => deps.swarm.transfers() };
    return await explainImage(sources, order, deps.clock.wallMs());
  });
  app.get('/api/v1/images', async (): Promise<ImagesAnswer> => ({ images: await deps.images.listImages() }));
  app.post('/api/v1/pull', async (request, reply) => {
    const order = readPullOrder(request.body, options.defaultOrigin);
    if (pulls >= options.maxPulls) throw new AdminError('ADMIN_BUSY', `${options.maxPulls} pulls are running`);
    pulls += 1;
    const gone = new AbortController();
    reply.raw.once('close', () => {
      pulls -= 1;
      gone.abort(new DOMException('the client is gone', 'AbortError'));
    });
    const pull = options.platform === undefined ? order : { platform: options.platform, ...order };
    const ends = { gone: gone.signal, stopping: stopping.signal };
    const lines = walkPullLines(deps.images, pull, deps.logger, ends);
    reply.type('application/x-ndjson');
    // One line at a time: the pull is asked how far it is only as fast as the client reads.
    return reply.send(Readable.from(lines, { objectMode: true, highWaterMark: 1 }));
  });

  try {
    await app.listen({ ...options.listen });
  } catch (error) {
    await app.close();
    throw error;
  }
  const bound = app.server.address() as AddressInfo;
  return {
    address: { host: bound.address, port: bound.port },
    async [Symbol.asyncDispose]() {
      stopping.abort(new DOMException('the node is stopping', 'AbortError'));
      const cancel = deps.clock.schedule(options.drainTimeoutMs, () => app.server.closeAllConnections());
      const closed = app.close();
      app.server.closeIdleConnections();
      await closed;
      cancel();
    },
  };
}

/** fastify marks what it refuses of a body with a status of its own. */
function isCallersFault(error: unknown): boolean {
  const { statusCode } = error as { statusCode?: unknown };
  return typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500;
}
