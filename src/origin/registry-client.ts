import { LRUCache } from 'lru-cache';
import type { Clock } from '../lib/clock.ts';
import type { Authorizer } from './auth/authorizer.ts';
import { findRedirectRefusal, type RedirectRefusal } from './auth/realm.ts';
import { OriginError } from './errors.ts';
import type { HttpClient, HttpResponse } from './http/http-client.ts';
import { findLiteralAddress, isLocalhost, isPrivateAddress } from './http/private-address.ts';
import { findRegistryMessage, readErrorText } from './http/read-body.ts';
import { statusError } from './status-error.ts';

export interface RegistryRequest {
  readonly method: 'GET' | 'HEAD';
  /** Name of the repository. */
  readonly repository: string;
  /** What follows the name: `/manifests/latest`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Statuses beside 200 and 206 that are answers and not failures. */
  readonly accepts?: readonly number[];
  /** Where the answer came from is kept for the next request of the same path: blobs are read in many ranges. */
  readonly keepsRedirect?: boolean;
}

export interface RegistryClientOptions {
  readonly namespace: string;
  /** Without a slash at the end; may have a path. */
  readonly url: string;
  readonly trustedHosts: readonly string[];
  readonly userAgent: string;
}

// Distribution's storage drivers sign redirects for 20 minutes; a minute saves most hops and never outlives a signature.
const redirectKeptMs = 60_000;
const maxKeptRedirects = 1000;
const maxRedirects = 5;
const redirectStatuses = new Set([301, 302, 303, 307, 308]);

/** Sends one request to one origin: authorization asked for once, redirects followed by hand, refusals turned into errors. */
export class RegistryClient {
  readonly #clock: Clock;
  readonly #http: HttpClient;
  readonly #authorizer: Authorizer;
  readonly #options: RegistryClientOptions;
  readonly #origin: URL;
  readonly #redirects = new LRUCache<string, { readonly url: URL; readonly untilMs: number }>({
    max: maxKeptRedirects,
  });

  constructor(
    deps: { readonly clock: Clock; readonly http: HttpClient; readonly authorizer: Authorizer },
    options: RegistryClientOptions,
  ) {
    this.#clock = deps.clock;
    this.#http = deps.http;
    this.#authorizer = deps.authorizer;
    this.#options = options;
    this.#origin = new URL(options.url);
  }

  /** Resolves with an answer of an accepted status. @throws OriginError of every code that a refusal has */
  async send(request: RegistryRequest, signal: AbortSignal): Promise<HttpResponse> {
    const kept = await this.#sendToKept(request, signal);
    if (kept !== undefined) return kept;

    const authorization = await this.#authorizer.authorize(request.repository, signal);
    let response = await this.#follow(request, authorization, signal);
    if (response.status === 401) {
      const challenge = response.headers['www-authenticate'];
      await readErrorText(response, signal);
      const answer = await this.#authorizer.answer(challenge, authorization, request.repository, signal);
      response = await this.#follow(request, answer, signal);
    }
    if (isAccepted(request, response)) return response;
    throw await this.#refusal(request, response, signal);
  }

  /** Tries the place where the same path was answered from a moment ago; undefined = ask the origin. */
  async #sendToKept(request: RegistryRequest, signal: AbortSignal): Promise<HttpResponse | undefined> {
    const key = this.#redirectKey(request);
    const kept = this.#redirects.get(key);
    if (kept === undefined) return undefined;
    if (this.#clock.nowMs() < kept.untilMs) {
      const response = await this.#sendTo(kept.url, request, undefined, signal).catch(() => undefined);
      if (response !== undefined && isAccepted(request, response)) return response;
      response?.body.cancel();
      signal.throwIfAborted();
    }
    this.#redirects.delete(key);
    return undefined;
  }

  async #follow(
    request: RegistryRequest,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    let url = new URL(`${this.#options.url}/v2/${request.repository}${request.path}`);
    for (let hops = 0; ; hops += 1) {
      const isOwnHost = url.origin === this.#origin.origin;
      const response = await this.#sendTo(url, request, isOwnHost ? authorization : undefined, signal);
      if (!redirectStatuses.has(response.status)) {
        if (request.keepsRedirect === true && !isOwnHost && isAccepted(request, response)) {
          this.#redirects.set(this.#redirectKey(request), { url, untilMs: this.#clock.nowMs() + redirectKeptMs });
        }
        return response;
      }
      response.body.cancel();
      const location = response.headers['location'] ?? '';
      const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
      const refusal = hops >= maxRedirects ? 'too-many' : this.#findRefusal(url, next);
      if (next === undefined || refusal !== undefined) throw this.#redirectRefused(next, refusal ?? 'unreadable');
      url = next;
    }
  }

  #sendTo(
    url: URL,
    request: RegistryRequest,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    return this.#http.send({
      url,
      method: request.method,
      headers: {
        'user-agent': this.#options.userAgent,
        // Digests and ranges are over the bytes as stored; an encoded answer would be useless.
        'accept-encoding': 'identity',
        ...request.headers,
        ...(authorization === undefined ? {} : { authorization }),
      },
      isForeign: url.hostname !== this.#origin.hostname,
      signal,
    });
  }

  #findRefusal(from: URL, to: URL | undefined): RedirectRefusal | undefined {
    if (to === undefined) return 'unreadable';
    return findRedirectRefusal(from, to, {
      isOriginPrivate: this.#http.isOriginPrivate,
      trustedHosts: this.#options.trustedHosts,
      isPrivate: (hostname) => {
        const address = findLiteralAddress(hostname);
        return address === undefined ? isLocalhost(hostname) : isPrivateAddress(address);
      },
    });
  }

  #redirectRefused(to: URL | undefined, refusal: RedirectRefusal): OriginError {
    const details = { namespace: this.#options.namespace, realm: to?.host, refusal };
    return refusal === 'too-many' || refusal === 'unreadable'
      ? new OriginError('ORIGIN_BAD_ANSWER', 'the origin redirects without end or to nowhere', { details })
      : new OriginError('ORIGIN_REALM_REFUSED', 'the origin redirects to where requests must not go', { details });
  }

  async #refusal(request: RegistryRequest, response: HttpResponse, signal: AbortSignal): Promise<OriginError> {
    const reason = findRegistryMessage(await readErrorText(response, signal));
    return statusError(response, this.#clock.wallMs(), {
      namespace: this.#options.namespace,
      repository: request.repository,
      reference: request.path.slice(request.path.lastIndexOf('/') + 1),
      ...(reason === undefined ? {} : { reason }),
    });
  }

  #redirectKey(request: RegistryRequest): string {
    // Signed addresses hold for one method.
    return `${request.method} ${request.repository}${request.path}`;
  }
}

function isAccepted(request: RegistryRequest, { status }: HttpResponse): boolean {
  return status === 200 || status === 206 || (request.accepts?.includes(status) ?? false);
}
