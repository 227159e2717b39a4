import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type Digest, digestAlgorithm, digestOf } from '../../src/oci/digest.ts';
import type { Store } from '../../src/store/store.ts';
import { collect } from './store-fixtures.ts';

/** What must hold of every disk store at any time: no record without a true file, no file without a record, counts = edges. */
export async function expectConsistent(store: Store, dataDir: string, digests: Iterable<Digest>): Promise<void> {
  await store.recovered;
  const records = await collect(store.blobs.walkBlobs());
  const files = await readBlobFiles(dataDir);
  expect(new Set(records.map(({ digest }) => digest)), 'records are the files').toEqual(new Set(files.keys()));
  for (const { digest, sizeBytes } of records) {
    const bytes = files.get(digest) ?? Buffer.alloc(0);
    expect(bytes.length, `${digest} has its size`).toBe(sizeBytes);
    expect(digestOf(bytes, digestAlgorithm(digest)), 'a blob hashes to its name').toBe(digest);
  }
  const blobBytes = records.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  expect(await store.blobs.usage()).toMatchObject({ blobs: records.length, blobBytes });
  for (const digest of digests) {
    const edges = await store.metadata.listEdges(digest);
    expect(await store.metadata.countEdges(digest), `count of ${digest}: ${JSON.stringify(edges)}`).toBe(edges.length);
  }
}

async function readBlobFiles(dataDir: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const entry of await readdir(join(dataDir, 'blobs'), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const algorithm = entry.parentPath.split('/').at(-2);
    files.set(`${algorithm}:${entry.name}`, await readFile(join(entry.parentPath, entry.name)));
  }
  return files;
}
