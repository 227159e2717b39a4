import type { Digest } from '../../src/oci/digest.ts';
import { digestOf } from '../../src/oci/digest.ts';
import type { MemoryOrigin } from '../../src/origin/memory/memory-origin.ts';
import type { BlobStore } from '../../src/store/blob-store.ts';
import type { BlobRequest, Download } from '../../src/swarm/swarm.ts';
import { seededBytes } from './seeded-bytes.ts';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const demoRepository = { namespace: 'origin.test', name: 'library/demo' };

/** Makes a blob, puts it into the origins, and gives the request for it. */
export function putBlob(origins: readonly MemoryOrigin[], sizeBytes: number, seed = 1, repository = demoRepository) {
  const bytes = seededBytes(sizeBytes, seed);
  for (const origin of origins) origin.putBlob(repository, bytes);
  const request: BlobRequest = { digest: digestOf(bytes), sizeBytes, repository };
  return { bytes, request };
}

/** Reads a range of a download through a reader, as a client does. */
export async function readRange(
  download: Pick<Download, 'openReader'>,
  start: number,
  end: number,
  signal: AbortSignal = AbortSignal.timeout(60_000),
): Promise<Buffer> {
  const reader = download.openReader({ start, end });
  const bytes = Buffer.alloc(end - start);
  let position = start;
  try {
    while (position < end) {
      const count = await reader.read(bytes.subarray(position - start, position - start + 100_000), position, signal);
      if (count === 0) break;
      position += count;
    }
  } finally {
    reader.close();
  }
  return bytes.subarray(0, position - start);
}

/** Reads a stored blob whole. */
export async function readStored(blobs: BlobStore, digest: Digest): Promise<Buffer> {
  const handle = await blobs.openBlob(digest);
  const bytes = Buffer.alloc(handle.sizeBytes);
  let filled = 0;
  while (filled < bytes.length) {
    const count = await handle.read(bytes.subarray(filled), filled);
    if (count === 0) break;
    filled += count;
  }
  await handle.close();
  return bytes.subarray(0, filled);
}

/** Waits for a condition with a deadline, looking again every few milliseconds. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, timeoutMs = 15_000) {
  const endMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`did not come to pass: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
