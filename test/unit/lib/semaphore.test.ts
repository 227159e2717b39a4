import { describe, expect, it } from 'vitest';
import { Semaphore } from '../../../src/lib/semaphore.ts';

const never = new AbortController().signal;

describe('Semaphore', () => {
  it('grants up to its limit at once and the rest in order', async () => {
    const semaphore = new Semaphore(2);
    const order: number[] = [];
    const note = (name: number) => (release: () => void) => {
      order.push(name);
      return release;
    };
    const first = await semaphore.acquire(never);
    const second = await semaphore.acquire(never);
    const third = semaphore.acquire(never).then(note(3));
    const fourth = semaphore.acquire(never).then(note(4));
    expect([semaphore.held, semaphore.waiting]).toEqual([2, 2]);
    second();
    (await third)();
    (await fourth)();
    first();
    expect(order).toEqual([3, 4]);
    expect([semaphore.held, semaphore.waiting]).toEqual([0, 0]);
  });

  it('counts a release once', async () => {
    const semaphore = new Semaphore(1);
    const release = await semaphore.acquire(never);
    release();
    release();
    expect(semaphore.held).toBe(0);
  });

  it('lets a waiter give up without losing its turn for others', async () => {
    const semaphore = new Semaphore(1);
    const release = await semaphore.acquire(never);
    const aborter = new AbortController();
    const leaving = semaphore.acquire(aborter.signal);
    const staying = semaphore.acquire(never);
    aborter.abort(new Error('left'));
    await expect(leaving).rejects.toThrow('left');
    await expect(semaphore.acquire(aborter.signal)).rejects.toThrow('left');
    release();
    (await staying)();
    expect([semaphore.held, semaphore.waiting]).toEqual([0, 0]);
  });

  it('ignores an abort that comes after the grant', async () => {
    const semaphore = new Semaphore(1);
    const aborter = new AbortController();
    const release = await semaphore.acquire(never);
    const waiting = semaphore.acquire(aborter.signal);
    release();
    const granted = await waiting;
    aborter.abort();
    expect(semaphore.held).toBe(1);
    granted();
    expect(semaphore.held).toBe(0);
  });
});
