import { expect, it } from 'vitest';
import { BufferPool } from '../../../src/registry/buffer-pool.ts';

it('gives large buffers while there are any, small ones after, and uses the returned ones again', () => {
  const pool = new BufferPool({ largeBytes: 1000, smallBytes: 10, maxLarge: 2 });
  const [first, second] = [pool.take(5000), pool.take(5000)];
  expect([first.length, second.length]).toEqual([1000, 1000]);
  expect(pool.take(5000)).toHaveLength(10);
  expect(pool.take(3)).toHaveLength(3);
  pool.give(first);
  expect(pool.take(5000, true)).toHaveLength(10);
  expect(pool.take(5000)).toBe(first);
  pool.drop(second);
  expect(pool.largeOut).toBe(1);
  expect(pool.take(5000)).not.toBe(second);
});
