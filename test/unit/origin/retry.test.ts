import { expect, it } from 'vitest';
import { OriginError, type OriginErrorCode } from '../../../src/origin/errors.ts';
import { findRetryWaitMs } from '../../../src/origin/retry.ts';

const state = { attempts: 1, retries: 3, remainingMs: 60_000 };
const half = { next: () => 0.5 };
const wait = (code: OriginErrorCode, details: Record<string, unknown> = {}, others = {}) =>
  findRetryWaitMs(new OriginError(code, 'x', { details }), { ...state, ...others }, half);

it.each<[OriginErrorCode, Record<string, unknown>, number | undefined]>([
  ['ORIGIN_UNAVAILABLE', { stage: 'connect' }, 100],
  ['ORIGIN_UNAVAILABLE', { stage: 'tls' }, undefined],
  ['ORIGIN_UNAVAILABLE', { stage: 'deadline' }, undefined],
  ['ORIGIN_UNAVAILABLE', { status: 500 }, undefined],
  ['ORIGIN_UNAVAILABLE', { status: 502 }, 100],
  ['ORIGIN_UNAVAILABLE', { status: 503 }, 100],
  ['ORIGIN_UNAVAILABLE', { status: 503, retryAfterMs: 2000 }, 2100],
  ['ORIGIN_UNAVAILABLE', { status: 504 }, 100],
  ['ORIGIN_CUT', {}, 100],
  ['ORIGIN_RATE_LIMITED', {}, 100],
  ['ORIGIN_RATE_LIMITED', { retryAfterMs: 5000 }, 5100],
  ['ORIGIN_RATE_LIMITED', { retryAfterMs: 5001 }, undefined],
  ['ORIGIN_BAD_ANSWER', {}, 100],
  ['ORIGIN_NOT_FOUND', {}, undefined],
  ['ORIGIN_UNAUTHORIZED', {}, undefined],
  ['ORIGIN_FORBIDDEN', {}, undefined],
  ['ORIGIN_BREAKER_OPEN', {}, undefined],
  ['ORIGIN_REALM_REFUSED', {}, undefined],
  ['ORIGIN_NOT_ALLOWED', {}, undefined],
])('%s %j waits %s ms', (code, details, expected) => {
  expect(wait(code, details)).toBe(expected);
});

it('doubles the window with each attempt, up to five seconds', () => {
  const waits = [1, 2, 3, 4, 5, 6, 7].map((attempts) => wait('ORIGIN_CUT', {}, { attempts, retries: 10 }));
  expect(waits).toEqual([100, 200, 400, 800, 1600, 2500, 2500]);
});

it('gives up after the last attempt, at the deadline, and at the second wrong answer', () => {
  expect(wait('ORIGIN_CUT', {}, { attempts: 4 })).toBeUndefined();
  expect(wait('ORIGIN_CUT', {}, { remainingMs: 100 })).toBeUndefined();
  expect(wait('ORIGIN_BAD_ANSWER', {}, { attempts: 2 })).toBeUndefined();
});
