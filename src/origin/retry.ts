import type { Random } from '../lib/clock.ts';
import type { OriginError } from './errors.ts';

export interface RetryState {
  /** Attempts so far, the failed one included. */
  readonly attempts: number;
  readonly retries: number;
  readonly remainingMs: number;
}

// First wait of the back-off; long enough for a connection table or a load balancer to move on.
const baseWaitMs = 200;
// A client waits behind every retry; beyond this it is better off with an error and another source.
const maxWaitMs = 5_000;

const passingStatuses = new Set([502, 503, 504]);

/** The longest Retry-After that is waited for within a request; a longer one is the caller's to deal with. */
export const maxInlineRetryAfterMs = maxWaitMs;

/**
 * Decides whether and when a failed request is sent again: full jitter over a doubling window, or the wait the origin asked for.
 * Only what may pass is repeated: no connection, a cut, 502, 503, 504, 429; an answer that is wrong is asked for once more.
 * Every request of this folder is idempotent.
 */
export function findRetryWaitMs(error: OriginError, state: RetryState, random: Random): number | undefined {
  if (state.attempts > state.retries || !mayPass(error, state.attempts)) return undefined;
  const retryAfterMs = error.details['retryAfterMs'];
  const askedMs = typeof retryAfterMs === 'number' ? retryAfterMs : 0;
  if (askedMs > maxInlineRetryAfterMs) return undefined;
  const waitMs = askedMs + random.next() * Math.min(maxWaitMs, baseWaitMs * 2 ** (state.attempts - 1));
  return waitMs < state.remainingMs ? waitMs : undefined;
}

function mayPass(error: OriginError, attempts: number): boolean {
  switch (error.code) {
    case 'ORIGIN_RATE_LIMITED':
    case 'ORIGIN_CUT':
      return true;
    case 'ORIGIN_BAD_ANSWER':
      return attempts === 1;
    case 'ORIGIN_UNAVAILABLE': {
      const { status, stage } = error.details;
      return typeof status === 'number' ? passingStatuses.has(status) : stage !== 'tls' && stage !== 'deadline';
    }
    default:
      return false;
  }
}
