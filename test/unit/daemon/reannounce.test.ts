import { expect, test } from 'vitest';
import { reannounceHeld } from '../../../src/daemon/reannounce.ts';
import type { Announcement, Directory } from '../../../src/discovery/directory.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import type { BlobStore } from '../../../src/store/blob-store.ts';

function fixture(counts: readonly number[]) {
  const batches: (readonly Announcement[])[] = [];
  const order: string[] = [];
  let walk = 0;
  const blobs = {
    async *walkBlobs() {
      order.push('walk');
      const count = counts[Math.min(walk++, counts.length - 1)] ?? 0;
      for (let at = 0; at < count; at += 1)
        yield { digest: digestOf(Buffer.from(`${at}`)), sizeBytes: 1, storedAtMs: 0 };
    },
    usage: async () => ({ blobs: counts[Math.min(Math.max(walk - 1, 0), counts.length - 1)] ?? 0 }),
  } as unknown as BlobStore;
  const recovered = Promise.resolve().then(() => {
    walk = Math.max(walk, 1);
  });
  const directory = {
    announce: async (entries: readonly Announcement[]) => {
      batches.push(entries);
      return new Map();
    },
  } as unknown as Directory;
  const membership = {
    members: () => [],
    settled: async () => {
      order.push('settled');
    },
  };
  const images = {
    announceHeld: async () => {
      order.push('tags');
    },
  };
  return { deps: { store: { blobs, recovered }, images, directory, membership, logger: silentLogger }, batches, order };
}

test('announces every blob as complete, in batches, after the first bootstrap round', async () => {
  const { deps, batches, order } = fixture([2500]);
  await reannounceHeld(deps, new AbortController().signal);
  expect(batches.map((batch) => batch.length)).toEqual([1000, 1000, 500]);
  expect(batches.flat().every(({ holding }) => holding === 'complete')).toBe(true);
  expect(order).toEqual(['settled', 'walk', 'tags']);
});

test('announces nothing when nothing is held', async () => {
  const { deps, batches } = fixture([0]);
  await reannounceHeld(deps, new AbortController().signal);
  expect(batches).toEqual([]);
});

test('stops in the middle when the node stops', async () => {
  const { deps, batches } = fixture([10]);
  const stopped = AbortSignal.abort(new DOMException('stopped', 'AbortError'));
  await expect(reannounceHeld(deps, stopped)).rejects.toThrow('stopped');
  expect(batches).toEqual([]);
});
