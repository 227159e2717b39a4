import { type LookupAddress, type LookupOptions, lookup as systemLookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { getCACertificates } from 'node:tls';
import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { toError } from '../../lib/errors.ts';
import { OriginError } from '../errors.ts';
import type { OriginTimeouts, ProxyOptions } from '../origin-options.ts';
import type { HttpClient, HttpRequest, HttpResponse } from './http-client.ts';
import { findLiteralAddress, isLocalhost, isPrivateAddress } from './private-address.ts';
import { ResponseBody } from './response-body.ts';

export interface UndiciClientOptions {
  readonly originUrl: URL;
  /** PEM, trusted beside the system's authorities. */
  readonly ca?: string;
  readonly isVerifyingTls: boolean;
  /** Connections to each host. */
  readonly connections: number;
  readonly timeouts: OriginTimeouts;
  readonly proxy: ProxyOptions;
  /** Hosts the operator named; they may be at private addresses. */
  readonly trustedHosts: readonly string[];
  /** Whether the operator named the origin itself: if not, it must be at a public address. */
  readonly isOriginTrusted: boolean;
  readonly lookup?: LookupFunction;
}

// Idle connections are kept a little shorter than the 15-60 s common load balancers allow, else the next request meets a reset.
const keepAliveMs = 12_000;
// Redirect targets and token services of one origin; more at once would be an origin that invents hosts.
const maxForeignHosts = 32;

const tlsFailure = /^(ERR_TLS_|ERR_SSL_|CERT_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_|UNABLE_TO_)/;

/** Creates the client of one origin. Connections open when needed; HTTP/1.1 only, as bodies are pulled with back-pressure. */
export function createUndiciClient(options: UndiciClientOptions): HttpClient {
  const { originUrl, timeouts } = options;
  const literal = findLiteralAddress(originUrl.hostname);
  let isOriginPrivate = literal === undefined ? isLocalhost(originUrl.hostname) : isPrivateAddress(literal);

  const lookup = options.lookup ?? (systemLookup as LookupFunction);
  const originLookup = watchLookup(lookup, (_hostname, addresses) => {
    const isPrivate = addresses.some(isPrivateAddress);
    if (!options.isOriginTrusted) return !isPrivate;
    isOriginPrivate = isPrivate;
    return true;
  });
  const foreignLookup = watchLookup(
    lookup,
    (hostname, addresses) =>
      isOriginPrivate || options.trustedHosts.includes(hostname) || !addresses.some(isPrivateAddress),
  );
  const origin = createDispatcher(options, originLookup);
  const foreign = createDispatcher(options, foreignLookup);

  const send = (request: HttpRequest): Promise<HttpResponse> => {
    const { signal, url } = request;
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<HttpResponse>();
    let controller: Dispatcher.DispatchController | undefined;
    let body: ResponseBody | undefined;
    const onAbort = () => {
      const reason = toError(signal.reason);
      body?.abort(reason);
      reject(reason);
      controller?.abort(reason);
    };
    const settle = () => signal.removeEventListener('abort', onAbort);
    signal.addEventListener('abort', onAbort, { once: true });
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart(started) {
        controller = started;
        if (signal.aborted) started.abort(toError(signal.reason));
      },
      onResponseStart(started, status, headers) {
        if (status < 200) return;
        body = new ResponseBody(started, settle);
        resolve({ status, headers: joinHeaders(headers), body });
      },
      onResponseData(_started, chunk) {
        body?.push(chunk);
      },
      onResponseEnd() {
        body?.settle();
      },
      onResponseError(_started, error) {
        settle();
        if (body === undefined) reject(translateConnectError(error, url));
        else body.settle(translateBodyError(error));
      },
    };
    try {
      (request.isForeign ? foreign : origin).dispatch(
        {
          origin: url.origin,
          path: `${url.pathname}${url.search}`,
          method: request.method,
          headers: request.headers,
          body: request.body ?? null,
          headersTimeout: timeouts.headersMs,
          bodyTimeout: timeouts.stallMs,
        },
        handler,
      );
    } catch (error) {
      settle();
      reject(translateConnectError(toError(error), url));
    }
    return promise;
  };

  return {
    send,
    get isOriginPrivate() {
      return isOriginPrivate;
    },
    async close() {
      await Promise.all([origin.destroy(), foreign.destroy()]);
    },
  };
}

function createDispatcher(options: UndiciClientOptions, lookup: LookupFunction): Dispatcher {
  const { connectMs } = options.timeouts;
  const tls = {
    rejectUnauthorized: options.isVerifyingTls,
    ...(options.ca === undefined ? {} : { ca: [...getCACertificates('default'), options.ca] }),
  };
  const { httpProxy = '', httpsProxy = '', noProxy = '' } = options.proxy;
  const shared = {
    allowH2: false,
    connections: options.connections,
    pipelining: 1,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    maxOrigins: maxForeignHosts,
    connect: { ...tls, lookup, timeout: connectMs },
  };
  if (httpProxy === '' && httpsProxy === '') return new Agent(shared);
  // Behind a proxy the proxy resolves names: which addresses it reaches is its own policy.
  return new EnvHttpProxyAgent({ ...shared, httpProxy, httpsProxy, noProxy, requestTls: tls });
}

/** Wraps a lookup so that every connection's addresses are judged after DNS has spoken. */
function watchLookup(
  lookup: LookupFunction,
  isAllowed: (hostname: string, addresses: readonly string[]) => boolean,
): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true } as LookupOptions & { all: true }, (error, found) => {
      const answers = (Array.isArray(found) ? found : []) as readonly LookupAddress[];
      if (error !== null) return callback(error, '');
      const addresses = answers.map(({ address }) => address);
      if (addresses.length === 0 || !isAllowed(hostname, addresses)) {
        const refused = new OriginError('ORIGIN_REALM_REFUSED', 'the host is at a private address', {
          details: { realm: hostname },
        });
        return callback(refused, '');
      }
      if (options.all) return callback(null, [...answers]);
      callback(null, answers[0]?.address ?? '', answers[0]?.family);
    });
  };
}

function joinHeaders(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const joined: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) joined[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return joined;
}

function translateConnectError(error: Error, url: URL): Error {
  if (error instanceof OriginError) return error;
  const reason = 'code' in error ? String(error.code) : error.name;
  const stage = tlsFailure.test(reason) ? 'tls' : 'connect';
  const message = stage === 'tls' ? "the origin's certificate is not trusted" : 'the origin did not answer';
  return new OriginError('ORIGIN_UNAVAILABLE', message, { cause: error, details: { host: url.host, stage, reason } });
}

function translateBodyError(error: Error): Error {
  if (error instanceof OriginError) return error;
  const reason = 'code' in error ? String(error.code) : error.name;
  return new OriginError('ORIGIN_CUT', 'the body ended early', { cause: error, details: { reason } });
}
