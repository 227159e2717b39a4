import { beforeEach, describe, expect, it } from 'vitest';
import { Breaker } from '../../../src/origin/breaker.ts';
import { FakeClock } from '../../support/fake-clock.ts';

describe('Breaker', () => {
  let clock: FakeClock;
  let breaker: Breaker;
  beforeEach(() => {
    clock = new FakeClock();
    breaker = new Breaker(clock, { failures: 3, pauseMs: 1000 });
  });
  const fail = (times: number) => {
    for (let index = 0; index < times; index += 1) {
      breaker.admit();
      breaker.fail();
    }
  };

  it('stays closed below the limit, and after a success counts from zero', () => {
    fail(2);
    breaker.succeed();
    fail(2);
    expect(breaker.state).toBe('closed');
    expect(breaker.admit()).toEqual({ isAdmitted: true });
  });

  it('opens at the limit and tells when to come back', () => {
    fail(3);
    expect(breaker.state).toBe('open');
    clock.advance(400);
    expect(breaker.admit()).toEqual({ isAdmitted: false, reason: 'open', retryAfterMs: 600 });
  });

  it('lets one probe pass after the pause', () => {
    fail(3);
    clock.advance(1000);
    expect(breaker.state).toBe('half-open');
    expect(breaker.admit().isAdmitted).toBe(true);
    expect(breaker.admit()).toEqual({ isAdmitted: false, reason: 'open', retryAfterMs: 1000 });
    breaker.succeed();
    expect(breaker.state).toBe('closed');
    expect(breaker.retryAfterMs).toBe(0);
  });

  it('doubles the pause with each failed probe, up to eight times the first', () => {
    fail(3);
    const pauses: number[] = [];
    for (let index = 0; index < 5; index += 1) {
      clock.advance(breaker.retryAfterMs);
      breaker.admit();
      breaker.fail();
      pauses.push(breaker.retryAfterMs);
    }
    expect(pauses).toEqual([2000, 4000, 8000, 8000, 8000]);
    clock.advance(8000);
    breaker.admit();
    breaker.succeed();
    fail(3);
    expect(breaker.retryAfterMs).toBe(1000);
  });

  it('gives the probe to the next when it was abandoned', () => {
    fail(3);
    clock.advance(1000);
    breaker.admit();
    breaker.abandon();
    expect(breaker.admit().isAdmitted).toBe(true);
  });

  it('does not prolong its pause for requests that were admitted before', () => {
    fail(3);
    clock.advance(900);
    breaker.fail();
    expect(breaker.retryAfterMs).toBe(100);
  });

  it('is closed by a success of a request that was admitted before', () => {
    fail(3);
    breaker.succeed();
    expect(breaker.state).toBe('closed');
  });

  it('stops for as long as the origin asks, which is no failure', () => {
    breaker.limit(500);
    breaker.limit(200);
    expect(breaker.state).toBe('limited');
    expect(breaker.admit()).toEqual({ isAdmitted: false, reason: 'limited', retryAfterMs: 500 });
    clock.advance(500);
    expect(breaker.state).toBe('closed');
    expect(breaker.admit().isAdmitted).toBe(true);
  });
});
