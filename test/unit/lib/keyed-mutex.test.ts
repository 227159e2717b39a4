import { describe, expect, it } from 'vitest';
import { KeyedMutex } from '../../../src/lib/keyed-mutex.ts';

describe('KeyedMutex', () => {
  it('serialises work of one key and lets other keys pass', async () => {
    const mutex = new KeyedMutex();
    const events: string[] = [];
    const gate = Promise.withResolvers<void>();
    const first = mutex.run('a', async () => {
      events.push('a1 in');
      await gate.promise;
      events.push('a1 out');
    });
    const second = mutex.run('a', async () => events.push('a2'));
    await mutex.run('b', async () => events.push('b'));
    gate.resolve();
    await Promise.all([first, second]);
    expect(events).toEqual(['a1 in', 'b', 'a1 out', 'a2']);
    expect(mutex.size).toBe(0);
  });

  it('goes on after work that failed', async () => {
    const mutex = new KeyedMutex();
    const failing = mutex.run('a', () => Promise.reject(new Error('no')));
    const after = mutex.run('a', async () => 'yes');
    await expect(failing).rejects.toThrow('no');
    expect(await after).toBe('yes');
    expect(mutex.size).toBe(0);
  });

  it('takes several keys whatever their order and repetition, without two callers waiting for each other', async () => {
    const mutex = new KeyedMutex();
    let inside = 0;
    const work = async () => {
      inside += 1;
      expect(inside).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
      inside -= 1;
      return 'done';
    };
    const orders = [
      ['a', 'b', 'c'],
      ['c', 'b', 'a'],
      ['b', 'b', 'a'],
      ['a', 'c'],
    ];
    expect(await Promise.all(orders.map((keys) => mutex.runAll(keys, work)))).toEqual(Array(4).fill('done'));
    expect(await mutex.runAll([], async () => 'none')).toBe('none');
    expect(mutex.size).toBe(0);
  });
});
