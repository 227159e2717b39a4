import { randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import type { OriginExchange } from '../../src/cli/demo/embedded-origin.ts';
import { errorAnswer, jsonAnswer, type OriginAnswer } from '../../src/cli/demo/origin-answer.ts';

/** How the chaos registry asks who is there. Absent fields of `credentials` = anyone gets a token. */
export type ChaosAuthOptions =
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  | {
      readonly kind: 'token';
      readonly credentials?: { readonly username: string; readonly password: string };
      /** Accepted in a POST of OAuth 2. */
      readonly refreshToken?: string;
      /** What the challenge names; absent = `/token` of this registry. */
      readonly realm?: string;
      /** Absent = 60. */
      readonly expiresInSeconds?: number;
      /** The field that carries the token; absent = `token`. */
      readonly field?: 'token' | 'access_token';
    };

export interface ChaosAuth {
  readonly tokensIssued: number;
  readonly challenges: number;
  /** Credentials seen at the token endpoint, in order; undefined = anonymous. */
  readonly tokenRequests: readonly { readonly authorization: string | undefined; readonly scope: string | null }[];
  /** Makes every token given so far invalid. */
  expireTokens(): void;
  /** Returns the refusal or the token; undefined = the request may pass. */
  answer(exchange: OriginExchange, url: string): Promise<OriginAnswer | undefined>;
}

export function createChaosAuth(options: ChaosAuthOptions | undefined): ChaosAuth {
  const scopeByToken = new Map<string, string>();
  const tokenRequests: { authorization: string | undefined; scope: string | null }[] = [];
  let tokensIssued = 0;
  let challenges = 0;

  const refuse = (challenge: string): OriginAnswer => {
    challenges += 1;
    const refused = errorAnswer(401, 'UNAUTHORIZED', 'authentication required');
    return { ...refused, headers: { ...refused.headers, 'www-authenticate': challenge } };
  };

  const issue = async (exchange: OriginExchange): Promise<OriginAnswer> => {
    if (options?.kind !== 'token') return errorAnswer(404, 'UNSUPPORTED', 'no tokens here');
    const { authorization } = exchange.request.headers;
    const isPost = exchange.request.method === 'POST';
    const query = isPost ? new URLSearchParams(await text(exchange.request)) : exchange.query;
    const scope = query.get('scope');
    tokenRequests.push({ authorization, scope });
    if (isPost) {
      if (options.refreshToken === undefined || query.get('refresh_token') !== options.refreshToken) {
        return errorAnswer(401, 'UNAUTHORIZED', 'refresh token refused');
      }
    } else if (options.credentials !== undefined) {
      const { username, password } = options.credentials;
      if (authorization !== basic(username, password)) return errorAnswer(401, 'UNAUTHORIZED', 'who are you');
    }
    tokensIssued += 1;
    const token = `token-${tokensIssued}-${randomUUID()}`;
    scopeByToken.set(token, scope ?? '');
    return jsonAnswer(200, { [options.field ?? 'token']: token, expires_in: options.expiresInSeconds ?? 60 });
  };

  return {
    get tokensIssued() {
      return tokensIssued;
    },
    get challenges() {
      return challenges;
    },
    tokenRequests,
    expireTokens: () => scopeByToken.clear(),
    async answer(exchange, url) {
      if (options === undefined) return undefined;
      if (exchange.path === '/token') return await issue(exchange);
      const { authorization } = exchange.request.headers;
      if (options.kind === 'basic') {
        if (authorization === basic(options.username, options.password)) return undefined;
        return refuse('Basic realm="chaos"');
      }
      const { repository } = exchange.question;
      const scope = repository === undefined ? undefined : `repository:${repository}:pull`;
      const granted = scopeByToken.get(authorization?.replace(/^Bearer /, '') ?? '');
      if (granted !== undefined && (scope === undefined || granted.split(' ').includes(scope))) return undefined;
      const scopePart = scope === undefined ? '' : `,scope="${scope}"`;
      return refuse(`Bearer realm="${options.realm ?? `${url}/token`}",service="chaos"${scopePart}`);
    },
  };
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
