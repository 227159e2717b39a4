import { CodedError } from '../lib/errors.ts';

export type OriginErrorCode =
  /** The namespace is not configured and not allowed. {namespace} */
  | 'ORIGIN_NOT_ALLOWED'
  /** The origin says there is no such manifest, blob or repository (404). {namespace, repository, reference} */
  | 'ORIGIN_NOT_FOUND'
  /** Credentials are missing or wrong (401). {namespace} */
  | 'ORIGIN_UNAUTHORIZED'
  /** The credentials do not reach this repository (403). {namespace} */
  | 'ORIGIN_FORBIDDEN'
  /** 429; {retryAfterMs?} */
  | 'ORIGIN_RATE_LIMITED'
  /** No connection, a time-out before the answer, or 5xx; {status?, retryAfterMs?} */
  | 'ORIGIN_UNAVAILABLE'
  /** The breaker is open after repeated failures; nothing was sent. {retryAfterMs} */
  | 'ORIGIN_BREAKER_OPEN'
  /** The body ended early or stalled and could not be resumed. {receivedBytes, expectedBytes} */
  | 'ORIGIN_CUT'
  /** Wrong length, wrong digest, wrong type, or an answer that breaks the protocol. */
  | 'ORIGIN_BAD_ANSWER'
  /** The token realm or a redirect points where credentials or requests must not go. {realm} */
  | 'ORIGIN_REALM_REFUSED';

export class OriginError extends CodedError<OriginErrorCode> {}

const retryable: Record<OriginErrorCode, boolean> = {
  ORIGIN_NOT_ALLOWED: false,
  ORIGIN_NOT_FOUND: false,
  ORIGIN_UNAUTHORIZED: false,
  ORIGIN_FORBIDDEN: false,
  ORIGIN_RATE_LIMITED: true,
  ORIGIN_UNAVAILABLE: true,
  ORIGIN_BREAKER_OPEN: true,
  ORIGIN_CUT: true,
  ORIGIN_BAD_ANSWER: true,
  ORIGIN_REALM_REFUSED: false,
};

/** Tells whether the same request may succeed later. */
export function isRetryableOriginError(code: OriginErrorCode): boolean {
  return retryable[code];
}
