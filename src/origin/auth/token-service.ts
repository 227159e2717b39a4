import { OriginError } from '../errors.ts';
import type { HttpClient, HttpResponse } from '../http/http-client.ts';
import { findRegistryMessage, readBody, readErrorText } from '../http/read-body.ts';
import { statusError } from '../status-error.ts';
import { basicHeader, type Credentials } from './credentials.ts';

export interface TokenRequest {
  readonly namespace: string;
  readonly realm: URL;
  readonly service: string | undefined;
  /** Several scopes are separated by spaces. */
  readonly scope: string;
  readonly credentials: Credentials | undefined;
}

export interface AccessToken {
  readonly token: string;
  readonly expiresInSeconds: number;
}

// The token of a registry with many scopes is some KiB; more is no token.
const maxAnswerBytes = 256 * 1024;
const maxTokenChars = 64 * 1024;
// Docker's token specification: what counts when the service does not say.
const defaultExpirySeconds = 60;
const maxExpirySeconds = 24 * 3600;
const clientId = 'shoal';

/**
 * Fetches an access token (Docker token authentication; OAuth 2 for identity tokens). Redirects are not followed: the answer to
 * who gets the credentials was given for this realm alone.
 * @throws ORIGIN_UNAUTHORIZED, ORIGIN_UNAVAILABLE, ORIGIN_RATE_LIMITED, ORIGIN_BAD_ANSWER
 */
export async function fetchToken(
  http: HttpClient,
  request: TokenRequest,
  options: { readonly isForeign: boolean; readonly userAgent: string; readonly wallNowMs: number },
  signal: AbortSignal,
): Promise<AccessToken> {
  const headers = { 'user-agent': options.userAgent, accept: 'application/json', 'accept-encoding': 'identity' };
  const { isForeign } = options;
  const response = await http.send(
    request.credentials?.kind === 'identity'
      ? {
          url: request.realm,
          method: 'POST',
          headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' },
          body: refreshForm(request, request.credentials.token).toString(),
          isForeign,
          signal,
        }
      : { url: tokenUrl(request), method: 'GET', headers: { ...headers, ...basic(request) }, isForeign, signal },
  );
  if (response.status !== 200) throw await refusal(request, response, options.wallNowMs, signal);
  const token = readToken((await readBody(response, maxAnswerBytes, 'token answer')).toString());
  if (token === undefined) {
    throw new OriginError('ORIGIN_BAD_ANSWER', 'the token service gave no readable token', {
      details: { namespace: request.namespace, realm: request.realm.host },
    });
  }
  return token;
}

/** Reads a token service's JSON; undefined when it holds no token that can be sent in a header. */
export function readToken(text: string): AccessToken | undefined {
  let answer: { token?: unknown; access_token?: unknown; expires_in?: unknown } | null;
  try {
    answer = JSON.parse(text);
  } catch {
    return undefined;
  }
  const token = [answer?.token, answer?.access_token].find((value) => typeof value === 'string' && value !== '');
  if (typeof token !== 'string' || token.length > maxTokenChars || !/^[\x21-\x7e]+$/.test(token)) return undefined;
  const expiry = answer?.expires_in;
  const isExpiryGiven = typeof expiry === 'number' && Number.isFinite(expiry) && expiry > 0;
  return { token, expiresInSeconds: isExpiryGiven ? Math.min(expiry, maxExpirySeconds) : defaultExpirySeconds };
}

function tokenUrl(request: TokenRequest): URL {
  const url = new URL(request.realm);
  if (request.service !== undefined) url.searchParams.append('service', request.service);
  for (const scope of request.scope.split(' ')) url.searchParams.append('scope', scope);
  url.searchParams.append('client_id', clientId);
  if (request.credentials?.kind === 'basic') url.searchParams.append('account', request.credentials.username);
  return url;
}

function refreshForm(request: TokenRequest, refreshToken: string): URLSearchParams {
  return new URLSearchParams({
    grant_type: 'refresh_token',
    service: request.service ?? '',
    client_id: clientId,
    scope: request.scope,
    refresh_token: refreshToken,
  });
}

function basic({ credentials }: TokenRequest): Record<string, string> {
  return credentials?.kind === 'basic'
    ? { authorization: basicHeader(credentials.username, credentials.password) }
    : {};
}

async function refusal(
  request: TokenRequest,
  response: HttpResponse,
  wallNowMs: number,
  signal: AbortSignal,
): Promise<OriginError> {
  const reason = findRegistryMessage(await readErrorText(response, signal));
  const details = { namespace: request.namespace, realm: request.realm.host, status: response.status, reason };
  if (response.status === 429 || response.status >= 500) return statusError(response, wallNowMs, details);
  const isRedirect = response.status >= 300 && response.status < 400;
  return isRedirect
    ? new OriginError('ORIGIN_REALM_REFUSED', 'the token service answers with a redirect', { details })
    : new OriginError('ORIGIN_UNAUTHORIZED', 'the token service refuses the credentials', { details });
}
