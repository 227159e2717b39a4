import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { watchDisk } from '../../../src/daemon/disk-watch.ts';
import { createHealth } from '../../../src/health/conditions.ts';
import type { BlobStore } from '../../../src/store/blob-store.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** Tells when the first round is over: the watch schedules its next one. */
class WatchedClock extends FakeClock {
  readonly #onSchedule: () => void;

  constructor(onSchedule: () => void) {
    super();
    this.#onSchedule = onSchedule;
  }

  override schedule(delayMs: number, callback: () => void): () => void {
    this.#onSchedule();
    return super.schedule(delayMs, callback);
  }
}

async function conditionsWith(options: { minFreeBytes: number; maxBytes: number }): Promise<readonly string[]> {
  const asked = Promise.withResolvers<void>();
  const clock = new WatchedClock(() => asked.resolve());
  const health = createHealth(clock);
  const blobs = {
    usage: async () => ({ blobs: 1, blobBytes: 900, ingests: 1, ingestBytes: 200 }),
  } as Partial<BlobStore> as BlobStore;
  const stop = new AbortController();
  const watching = watchDisk({ blobs, health, clock }, { dataDir: tmpdir(), ...options }, stop.signal);
  await asked.promise;
  stop.abort(new DOMException('stopped', 'AbortError'));
  await expect(watching).rejects.toThrow('stopped');
  return health.conditions().map(({ code }) => code);
}

test('says nothing while there is room', async () => {
  expect(await conditionsWith({ minFreeBytes: 0, maxBytes: 0 })).toEqual([]);
  expect(await conditionsWith({ minFreeBytes: 0, maxBytes: 1100 })).toEqual([]);
});

test('says when the disk is nearly full, and when the quota is passed', async () => {
  expect(await conditionsWith({ minFreeBytes: Number.MAX_SAFE_INTEGER, maxBytes: 0 })).toEqual(['STORE_DISK_FULL']);
  expect(await conditionsWith({ minFreeBytes: 0, maxBytes: 1000 })).toEqual(['STORE_OVER_QUOTA']);
});
