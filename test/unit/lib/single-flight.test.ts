import { describe, expect, it } from 'vitest';
import { SingleFlight } from '../../../src/lib/single-flight.ts';

const never = new AbortController().signal;

describe('SingleFlight', () => {
  it('runs one call for all who ask meanwhile, and a new one afterwards', async () => {
    const flights = new SingleFlight<string, number>();
    let calls = 0;
    const gate = Promise.withResolvers<void>();
    const call = async () => {
      calls += 1;
      await gate.promise;
      return calls;
    };
    const both = [flights.run('a', never, call), flights.run('a', never, call)];
    expect(flights.size).toBe(1);
    gate.resolve();
    expect(await Promise.all(both)).toEqual([1, 1]);
    expect(flights.size).toBe(0);
    expect(await flights.run('a', never, call)).toBe(2);
  });

  it('keeps keys apart and gives a failure to everyone', async () => {
    const flights = new SingleFlight<string, number>();
    const failing = () => Promise.reject(new Error('no'));
    const [a, b, other] = await Promise.allSettled([
      flights.run('a', never, failing),
      flights.run('a', never, failing),
      flights.run('b', never, () => Promise.resolve(7)),
    ]);
    expect([a?.status, b?.status, other]).toEqual(['rejected', 'rejected', { status: 'fulfilled', value: 7 }]);
    expect(flights.size).toBe(0);
  });

  it('goes on when one of two waiters leaves, and is aborted when the last one does', async () => {
    const flights = new SingleFlight<string, never>();
    let seen: AbortSignal | undefined;
    const call = (signal: AbortSignal) => {
      seen = signal;
      return new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    };
    const [first, second] = [new AbortController(), new AbortController()];
    const a = flights.run('a', first.signal, call);
    const b = flights.run('a', second.signal, call);
    first.abort(new Error('first left'));
    await expect(a).rejects.toThrow('first left');
    expect(seen?.aborted).toBe(false);
    second.abort(new Error('second left'));
    await expect(b).rejects.toThrow('second left');
    expect(seen?.aborted).toBe(true);
    expect(flights.size).toBe(0);
  });

  it('lets someone who asks after the last waiter left start afresh, whatever the old call still does', async () => {
    const flights = new SingleFlight<string, string>();
    const old = Promise.withResolvers<string>();
    const aborter = new AbortController();
    const left = flights.run('a', aborter.signal, () => old.promise);
    aborter.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    const gate = Promise.withResolvers<string>();
    const fresh = flights.run('a', never, () => gate.promise);
    old.resolve('old');
    await old.promise;
    expect(flights.size).toBe(1);
    gate.resolve('fresh');
    expect(await fresh).toBe('fresh');
  });

  it('does not abort the signal of a call that has ended, nor start one for a signal already aborted', async () => {
    const flights = new SingleFlight<string, AbortSignal>();
    const signal = await flights.run('a', never, async (own) => own);
    expect(signal.aborted).toBe(false);
    await expect(flights.run('a', AbortSignal.abort(new Error('early')), async (own) => own)).rejects.toThrow('early');
  });
});
