import { expect, it } from 'vitest';
import { BufferPool } from '../../../src/lib/buffer-pool.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const { signal } = new AbortController();

function createPool(maxBytes: number) {
  const clock = new FakeClock();
  return { clock, pool: new BufferPool(clock, { maxBytes, idleMs: 1000 }) };
}

it('lends the same buffer again', async () => {
  const { pool } = createPool(100);
  const buffer = await pool.acquire(40, signal);
  pool.release(buffer);
  expect(await pool.acquire(40, signal)).toBe(buffer);
});

it('lets nobody over the bound, and serves those who wait in order', async () => {
  const { pool } = createPool(100);
  const first = await pool.acquire(60, signal);
  const second = await pool.acquire(40, signal);
  const order: string[] = [];
  const large = pool.acquire(60, signal).then(() => order.push('large'));
  const small = pool.acquire(40, signal).then(() => order.push('small'));
  expect(pool.waiting).toBe(2);
  pool.release(second);
  await Promise.resolve();
  expect(order).toEqual([]);
  pool.release(first);
  await Promise.all([large, small]);
  expect(order).toEqual(['large', 'small']);
  expect(pool.usedBytes).toBe(100);
});

it('drops free buffers of other sizes to make room', async () => {
  const { pool } = createPool(100);
  const buffers = await Promise.all([pool.acquire(50, signal), pool.acquire(50, signal)]);
  for (const buffer of buffers) pool.release(buffer);
  expect(await pool.acquire(80, signal)).toHaveLength(80);
});

it('lends one buffer larger than the pool when nothing else is lent', async () => {
  const { pool } = createPool(10);
  const buffer = await pool.acquire(80, signal);
  const next = pool.acquire(5, signal);
  expect(pool.waiting).toBe(1);
  pool.release(buffer);
  expect(await next).toHaveLength(5);
});

it('forgets a waiter that gives up and lets the next one pass', async () => {
  const { pool } = createPool(100);
  const held = await pool.acquire(50, signal);
  const controller = new AbortController();
  const large = pool.acquire(80, controller.signal);
  const small = pool.acquire(50, signal);
  controller.abort(new Error('enough'));
  await expect(large).rejects.toThrow('enough');
  expect(await small).toHaveLength(50);
  pool.release(held);
});

it('makes room for a discarded buffer', async () => {
  const { pool } = createPool(50);
  const buffer = await pool.acquire(50, signal);
  const next = pool.acquire(50, signal);
  pool.discard(buffer);
  expect(await next).not.toBe(buffer);
});

it('frees what nobody used for a while', async () => {
  const { clock, pool } = createPool(100);
  const buffer = await pool.acquire(50, signal);
  pool.release(buffer);
  clock.advance(1000);
  expect(await pool.acquire(50, signal)).not.toBe(buffer);
});
