import { LRUCache } from 'lru-cache';
import type { Clock } from '../../lib/clock.ts';
import { SingleFlight } from '../../lib/single-flight.ts';
import { OriginError } from '../errors.ts';
import type { HttpClient } from '../http/http-client.ts';
import { type Challenge, readChallenges } from './challenge.ts';
import type { CredentialSource } from './credential-source.ts';
import { basicHeader, type Credentials } from './credentials.ts';
import { isCarrierSafe, isRealmAllowed } from './realm.ts';
import { type AccessToken, fetchToken, type TokenRequest } from './token-service.ts';

/**
 * Authorizes requests to one origin. Nothing is sent before the origin asks; what it asked for is remembered, so that only the
 * first request of all meets a 401. Tokens are kept per scope until shortly before they expire; one fetch per scope runs at a time.
 */
export interface Authorizer {
  /** Returns the header to send, as far as known without asking the origin. */
  authorize(repository: string, signal: AbortSignal): Promise<string | undefined>;
  /**
   * Answers a 401: returns a header that differs from the refused one.
   * @throws ORIGIN_UNAUTHORIZED when there is none, ORIGIN_REALM_REFUSED, and what the token service's request throws
   */
  answer(
    challengeHeader: string | undefined,
    refused: string | undefined,
    repository: string,
    signal: AbortSignal,
  ): Promise<string>;
}

export interface AuthorizerOptions {
  readonly namespace: string;
  readonly originUrl: URL;
  readonly trustedHosts: readonly string[];
  readonly isInsecure: boolean;
  readonly userAgent: string;
}

type Scheme =
  | { readonly kind: 'basic' }
  | { readonly kind: 'bearer'; readonly realm: URL; readonly service: string | undefined };

// Scopes are repositories; a node that pulls from more of one origin at a time asks again for the oldest.
const maxTokens = 1000;
// A token is not used in its last seconds: it may expire between this node's clock and the origin's.
const expiryMarginMs = 5_000;
const maxScopeChars = 1024;
// A token that is configured says nothing of its expiry; where it comes from is looked up again after this.
const fixedTokenSeconds = 300;

export function createAuthorizer(
  deps: { readonly clock: Clock; readonly http: HttpClient; readonly credentials: CredentialSource },
  options: AuthorizerOptions,
): Authorizer {
  const { namespace, originUrl, trustedHosts } = options;
  const tokens = new LRUCache<string, { readonly token: string; readonly untilMs: number }>({ max: maxTokens });
  const scopes = new LRUCache<string, string>({ max: maxTokens });
  const flights = new SingleFlight<string, AccessToken>();
  let scheme: Scheme | undefined;

  const unauthorized = (message: string) => new OriginError('ORIGIN_UNAUTHORIZED', message, { details: { namespace } });

  const findCredentials = async (signal: AbortSignal): Promise<Credentials | undefined> => {
    const credentials = await deps.credentials.find(signal);
    if (credentials !== undefined && !isCarrierSafe(originUrl, options.isInsecure)) {
      throw new OriginError(
        'ORIGIN_REALM_REFUSED',
        'credentials do not go over plain HTTP unless the origin is marked insecure',
        {
          details: { namespace, realm: originUrl.host },
        },
      );
    }
    return credentials;
  };

  const scopeOf = (repository: string) => scopes.get(repository) ?? `repository:${repository}:pull`;

  const findToken = async (
    bearer: Scheme & { kind: 'bearer' },
    repository: string,
    refused: string | undefined,
    signal: AbortSignal,
  ): Promise<string> => {
    const scope = scopeOf(repository);
    const kept = tokens.get(scope);
    const isUsable = kept !== undefined && deps.clock.nowMs() < kept.untilMs && `Bearer ${kept.token}` !== refused;
    if (isUsable) return kept.token;
    tokens.delete(scope);
    const fetched = await flights.run(scope, signal, async (flightSignal) => {
      const credentials = await findCredentials(flightSignal);
      if (credentials?.kind === 'bearer') return { token: credentials.token, expiresInSeconds: fixedTokenSeconds };
      const request: TokenRequest = { namespace, realm: bearer.realm, service: bearer.service, scope, credentials };
      const isForeign = bearer.realm.hostname !== originUrl.hostname;
      try {
        return await fetchToken(
          deps.http,
          request,
          { isForeign, userAgent: options.userAgent, wallNowMs: deps.clock.wallMs() },
          flightSignal,
        );
      } catch (error) {
        if (error instanceof OriginError && error.code === 'ORIGIN_UNAUTHORIZED') deps.credentials.forget();
        throw error;
      }
    });
    tokens.set(scope, {
      token: fetched.token,
      untilMs: deps.clock.nowMs() + Math.max(0, fetched.expiresInSeconds * 1000 - expiryMarginMs),
    });
    return fetched.token;
  };

  const headerFor = async (
    current: Scheme,
    repository: string,
    refused: string | undefined,
    signal: AbortSignal,
  ): Promise<string | undefined> => {
    if (current.kind === 'bearer') return `Bearer ${await findToken(current, repository, refused, signal)}`;
    const credentials = await findCredentials(signal);
    if (credentials?.kind === 'bearer') return `Bearer ${credentials.token}`;
    if (credentials?.kind !== 'basic') return undefined;
    return basicHeader(credentials.username, credentials.password);
  };

  const readScheme = (challenges: readonly Challenge[], repository: string): Scheme => {
    const bearer = challenges.find((challenge) => challenge.scheme === 'bearer' && challenge.parameters.has('realm'));
    if (bearer !== undefined) {
      const realmText = bearer.parameters.get('realm') ?? '';
      const realm = URL.canParse(realmText) ? new URL(realmText) : undefined;
      if (realm === undefined || !isRealmAllowed(originUrl, realm, trustedHosts)) {
        throw new OriginError('ORIGIN_REALM_REFUSED', "the origin's token service is at a host that is not its own", {
          details: { namespace, realm: realm?.host ?? realmText.slice(0, 100) },
        });
      }
      const scope = bearer.parameters.get('scope');
      if (scope !== undefined && scope !== '' && scope.length <= maxScopeChars) scopes.set(repository, scope);
      return { kind: 'bearer', realm, service: bearer.parameters.get('service') };
    }
    if (challenges.some((challenge) => challenge.scheme === 'basic')) return { kind: 'basic' };
    throw unauthorized('the origin asks for authentication in no way that is known');
  };

  return {
    async authorize(repository, signal) {
      return scheme === undefined ? undefined : await headerFor(scheme, repository, undefined, signal);
    },
    async answer(challengeHeader, refused, repository, signal) {
      scheme = readScheme(readChallenges(challengeHeader ?? ''), repository);
      const header = await headerFor(scheme, repository, refused, signal);
      if (header === undefined) throw unauthorized('the origin asks for credentials and none are configured');
      if (header === refused) {
        deps.credentials.forget();
        throw unauthorized('the origin refuses the credentials');
      }
      return header;
    },
  };
}
