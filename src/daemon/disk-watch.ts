import { statfs } from 'node:fs/promises';
import type { Health } from '../health/health.ts';
import { type Clock, delay } from '../lib/clock.ts';
import type { BlobStore } from '../store/blob-store.ts';

export interface DiskWatchOptions {
  readonly dataDir: string;
  readonly minFreeBytes: number;
  /** 0 = as many as the disk takes. */
  readonly maxBytes: number;
}

// A full disk is met by writes at once; this only has to be fast enough for a person.
const intervalMs = 15_000;

/** Keeps the health conditions of the disk and of the quota true, until the signal. */
export async function watchDisk(
  deps: { readonly blobs: BlobStore; readonly health: Health; readonly clock: Clock },
  options: DiskWatchOptions,
  signal: AbortSignal,
): Promise<void> {
  const { blobs, health, clock } = deps;
  const { dataDir, minFreeBytes, maxBytes } = options;
  for (;;) {
    const [disk, usage] = await Promise.all([statfs(dataDir), blobs.usage()]);
    const freeBytes = disk.bavail * disk.bsize;
    if (freeBytes < minFreeBytes) {
      health.set({
        code: 'STORE_DISK_FULL',
        severity: 'degraded',
        text: `${inMiB(freeBytes)} are free in ${dataDir}, and ${inMiB(minFreeBytes)} are to stay free: no new blob is stored`,
        remedy: 'free space on the disk, or move dataDir to a larger one',
      });
    } else health.clear('STORE_DISK_FULL');
    const heldBytes = usage.blobBytes + usage.ingestBytes;
    if (maxBytes > 0 && heldBytes > maxBytes) {
      health.set({
        code: 'STORE_OVER_QUOTA',
        severity: 'degraded',
        text: `the store holds ${inMiB(heldBytes)}, cache.maxBytes is ${inMiB(maxBytes)}`,
        remedy: 'raise cache.maxBytes, or start with an empty dataDir: this version does not evict by itself',
      });
    } else health.clear('STORE_OVER_QUOTA');
    await delay(clock, intervalMs, signal);
  }
}

function inMiB(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
