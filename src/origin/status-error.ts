import { OriginError, type OriginErrorCode } from './errors.ts';
import type { HttpResponse } from './http/http-client.ts';
import { readRetryAfterMs } from './http/retry-after.ts';

const codes: Readonly<Record<number, readonly [OriginErrorCode, string]>> = {
  401: ['ORIGIN_UNAUTHORIZED', 'the origin refuses the credentials'],
  403: ['ORIGIN_FORBIDDEN', 'the origin does not give access to this repository'],
  404: ['ORIGIN_NOT_FOUND', 'the origin has no such manifest, blob or repository'],
  408: ['ORIGIN_UNAVAILABLE', 'the origin ran out of time'],
  410: ['ORIGIN_NOT_FOUND', 'the origin no longer has this'],
  429: ['ORIGIN_RATE_LIMITED', 'the origin limits the rate of requests'],
  451: ['ORIGIN_FORBIDDEN', 'the origin may not serve this for legal reasons'],
};

/** Turns the status of a refused request into the folder's error. */
export function statusError(
  response: HttpResponse,
  wallNowMs: number,
  details: Readonly<Record<string, unknown>>,
): OriginError {
  const { status } = response;
  const [code, message] =
    codes[status] ??
    (status >= 500
      ? (['ORIGIN_UNAVAILABLE', 'the origin failed'] as const)
      : (['ORIGIN_BAD_ANSWER', 'the origin gave an unexpected answer'] as const));
  const retryAfterMs = readRetryAfterMs(response.headers['retry-after'], wallNowMs);
  return new OriginError(code, message, {
    details: { ...details, status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
  });
}
