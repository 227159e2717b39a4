import { expect, it } from 'vitest';
import { compactMemory } from '../../../src/daemon/compact-memory.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const { signal } = new AbortController();

/** Something that only a collection of all memory takes away. */
const makeGarbage = () => new WeakRef({ bytes: new Uint8Array(1024) });

it('collects memory of an idle node after its start, and when its fleet has met', async () => {
  const clock = new FakeClock();
  const looksMs: number[] = [];
  const compacted = compactMemory(clock, () => looksMs.push(clock.nowMs()) > 0, signal);
  for (const atMs of [1_000, 5_000, 30_000]) {
    const garbage = makeGarbage();
    await clock.advanceAsync(atMs - clock.nowMs());
    expect(garbage.deref()).toBeUndefined();
  }
  await compacted;
  expect(looksMs).toEqual([1_000, 5_000, 30_000]);
});

it('leaves a node alone that has something to do', async () => {
  const clock = new FakeClock();
  let looks = 0;
  const isIdle = () => {
    looks += 1;
    return false;
  };
  const compacted = compactMemory(clock, isIdle, signal);
  const garbage = makeGarbage();
  await clock.advanceAsync(100_000);
  await compacted;
  expect(looks).toBe(1);
  expect(garbage.deref()).toBeDefined();
});

it('ends with the node', async () => {
  const clock = new FakeClock();
  const stopping = new AbortController();
  const compacted = compactMemory(clock, () => true, stopping.signal);
  stopping.abort(new Error('stop'));
  await expect(compacted).rejects.toThrow('stop');
});
