import { expect, it } from 'vitest';
import { readFully } from '../../../src/lib/read-fully.ts';

/** Gives at most three bytes at once. */
const source = {
  bytes: Buffer.from('0123456789'),
  async read(target: Uint8Array, position: number) {
    const part = this.bytes.subarray(position, position + Math.min(3, target.length));
    target.set(part);
    return part.length;
  },
};

it.each([
  [0, 10, '0123456789'],
  [2, 4, '2345'],
  [7, 5, '789'],
  [10, 2, ''],
  [4, 0, ''],
])('reads from %i until %i bytes are there or the source ends', async (position, length, text) => {
  const target = Buffer.alloc(length);
  const count = await readFully(source, target, position);
  expect(target.subarray(0, count).toString()).toBe(text);
});
