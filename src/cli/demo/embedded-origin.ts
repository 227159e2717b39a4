import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Digest } from '../../oci/digest.ts';
import { answerQuestion, type OriginAnswer, type OriginQuestion, readQuestion } from './origin-answer.ts';
import { type OriginBlob, OriginContent, type OriginImage, type OriginManifestContent } from './origin-content.ts';

/**
 * A read-only OCI v2 registry in this process: the demo's origin and, behind fault rules, the tests' origin.
 * Content is put in by calls, never by HTTP. Bodies are written with back-pressure, and a client that leaves stops its body.
 */
export interface EmbeddedOrigin extends AsyncDisposable {
  /** `http://127.0.0.1:<port>`, without a slash at the end. */
  readonly url: string;
  /** `127.0.0.1:<port>`: the namespace of its images. */
  readonly host: string;
  readonly counters: Readonly<OriginCounters>;
  /** The latest requests in order of arrival. */
  readonly requests: readonly OriginRequestRecord[];
  /** Puts an image; the tags point at its root, whose digest is returned. */
  put(repository: string, tags: readonly string[], image: OriginImage): Digest;
  putManifest(repository: string, manifest: OriginManifestContent, tags?: readonly string[]): Digest;
  putBlob(repository: string, blob: OriginBlob): Digest;
  deleteTag(repository: string, tag: string): void;
  /** Sets the counters to zero and forgets the recorded requests. */
  resetCounters(): void;
}

export interface EmbeddedOriginOptions {
  /** Absent = 127.0.0.1 and a free port. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** PEM; absent = plain HTTP. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Called for every request; returning undefined means that the hook has taken over the response by itself. */
  readonly intercept?: OriginIntercept;
}

type OriginIntercept = (
  exchange: OriginExchange,
  next: () => Promise<OriginAnswer>,
) => Promise<OriginAnswer | undefined>;

export interface OriginExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly question: OriginQuestion;
  readonly path: string;
  readonly query: URLSearchParams;
}

interface OriginRequestRecord extends OriginQuestion {
  readonly method: string;
  /** Path with query. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** 0 until answered. */
  status: number;
  bodyBytes: number;
}

interface OriginCounters {
  requests: number;
  byKind: Record<OriginQuestion['kind'], number>;
  /** Bytes of blob bodies handed to the network. */
  blobBodyBytes: number;
  readonly blobBodyBytesByDigest: Map<string, number>;
}

// Enough for every test and the demo's table; older records are dropped so that a kept demo does not grow.
const maxRecordedRequests = 20_000;

/** Starts the registry; it listens when the promise resolves. */
export async function startEmbeddedOrigin(options: EmbeddedOriginOptions = {}): Promise<EmbeddedOrigin> {
  const content = new OriginContent();
  const requests: OriginRequestRecord[] = [];
  const counters = emptyCounters();

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const method = request.method ?? 'GET';
    const url = new URL(request.url ?? '/', 'http://origin.invalid');
    const path = decodePath(url.pathname);
    const question = readQuestion(method, path);
    const record = {
      ...question,
      method,
      url: request.url ?? '/',
      headers: { ...request.headers },
      status: 0,
      bodyBytes: 0,
    };
    if (requests.push(record) > maxRecordedRequests) requests.shift();
    counters.requests += 1;
    counters.byKind[question.kind] += 1;
    const next = async () =>
      answerQuestion(content, question, { query: url.searchParams, range: request.headers.range });
    const exchange = { request, response, question, path, query: url.searchParams };
    const answer = options.intercept === undefined ? await next() : await options.intercept(exchange, next);
    if (answer === undefined) return;
    record.status = answer.status;
    await send(response, answer, (bytes) => {
      record.bodyBytes += bytes;
      if (question.kind !== 'blob-get') return;
      const digest = question.reference ?? '';
      counters.blobBodyBytes += bytes;
      counters.blobBodyBytesByDigest.set(digest, (counters.blobBodyBytesByDigest.get(digest) ?? 0) + bytes);
    });
  };
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    serve(request, response).catch((error: Error) => response.destroy(error));
  };
  const server = options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener);
  // A pooled client connection must not be closed under a request that is just being sent (Node's default is 5 s).
  server.keepAliveTimeout = 60_000;
  const { host, port } = options.listen ?? { host: '127.0.0.1', port: 0 };
  server.listen(port, host);
  await once(server, 'listening');
  const address = server.address() as AddressInfo;
  const authority =
    address.family === 'IPv6' ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;

  return {
    url: `${options.tls === undefined ? 'http' : 'https'}://${authority}`,
    host: authority,
    counters,
    requests,
    put(repository, tags, image) {
      for (const blob of image.blobs) content.putBlob(repository, blob);
      const children = image.manifests.slice(0, -1);
      for (const manifest of children) content.putManifest(repository, manifest, []);
      const root = image.manifests.at(-1);
      if (root === undefined) throw new RangeError('an image has at least one manifest');
      return content.putManifest(repository, root, tags);
    },
    putManifest: (repository, manifest, tags = []) => content.putManifest(repository, manifest, tags),
    putBlob: (repository, blob) => content.putBlob(repository, blob),
    deleteTag: (repository, tag) => content.deleteTag(repository, tag),
    resetCounters() {
      requests.length = 0;
      counters.blobBodyBytesByDigest.clear();
      Object.assign(counters, { ...emptyCounters(), blobBodyBytesByDigest: counters.blobBodyBytesByDigest });
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Writes an answer with back-pressure; ends quietly when the client has left and cuts the connection when the body throws. */
async function send(response: ServerResponse, answer: OriginAnswer, count: (bytes: number) => void): Promise<void> {
  response.writeHead(answer.status, { 'docker-distribution-api-version': 'registry/2.0', ...answer.headers });
  if (answer.body === undefined) {
    response.end();
    return;
  }
  for await (const chunk of answer.body) {
    if (response.destroyed) return;
    count(chunk.length);
    if (!response.write(chunk)) await writable(response);
  }
  response.end();
}

function writable(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
    if (response.destroyed) done();
  });
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function emptyCounters(): OriginCounters {
  return {
    requests: 0,
    byKind: { ping: 0, 'manifest-head': 0, 'manifest-get': 0, 'blob-head': 0, 'blob-get': 0, tags: 0, other: 0 },
    blobBodyBytes: 0,
    blobBodyBytesByDigest: new Map(),
  };
}
