import { describe, expect, it } from 'vitest';
import { startDeadline } from '../../../src/lib/deadline.ts';
import { ExpiringCache } from '../../../src/lib/expiring-cache.ts';
import { FakeClock } from '../../support/fake-clock.ts';

describe('startDeadline', () => {
  it('aborts when the time is over', () => {
    const clock = new FakeClock();
    using deadline = startDeadline(clock, 10, new AbortController().signal);
    clock.advance(9);
    expect([deadline.signal.aborted, deadline.isOver]).toEqual([false, false]);
    clock.advance(1);
    expect([deadline.signal.aborted, deadline.isOver]).toEqual([true, true]);
    expect(deadline.signal.reason).toMatchObject({ name: 'TimeoutError' });
  });

  it('follows the other signal and leaves no timer', () => {
    const clock = new FakeClock();
    const aborter = new AbortController();
    {
      using deadline = startDeadline(clock, 10, aborter.signal);
      aborter.abort(new Error('left'));
      expect([deadline.signal.reason, deadline.isOver]).toEqual([aborter.signal.reason, false]);
    }
    expect(clock.pending).toBe(0);
  });
});

describe('ExpiringCache', () => {
  it('forgets by time, by bound and on request', () => {
    const clock = new FakeClock();
    const cache = new ExpiringCache<string, number>(clock, 2);
    cache.put('a', 1, 10);
    cache.put('b', 2, 20);
    clock.advance(10);
    expect([cache.find('a'), cache.find('b'), cache.find('c'), cache.size]).toEqual([undefined, 2, undefined, 1]);
    cache.put('c', 3, 20);
    cache.put('b', 4, 20);
    cache.put('d', 5, 20);
    expect([cache.find('c'), cache.find('b'), cache.find('d')]).toEqual([undefined, 4, 5]);
    cache.put('b', 6, 0);
    cache.delete('d');
    expect(cache.size).toBe(0);
  });

  it('holds nothing when its bound is nothing', () => {
    const cache = new ExpiringCache<string, number>(new FakeClock(), 0);
    cache.put('a', 1, 10);
    expect(cache.size).toBe(0);
  });
});
