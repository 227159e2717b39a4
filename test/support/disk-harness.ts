import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../../src/lib/logger.ts';
import { openStore, type StoreOptions } from '../../src/store/disk/open-store.ts';
import type { Files } from '../../src/store/files/files.ts';
import type { Store } from '../../src/store/store.ts';
import { FakeClock } from './fake-clock.ts';

export const storeOptions: Omit<StoreOptions, 'dataDir'> = {
  ingestMaxAgeMs: 24 * 3600_000,
  minFreeBytes: 0,
  flushIntervalMs: 180_000,
  quarantineMaxBytes: 1024 * 1024 * 1024,
};

/** A data directory of its own, with a store that can be opened over it again and again. */
export async function createDiskHarness() {
  const dataDir = await mkdtemp(join(tmpdir(), 'shoal-store-'));
  // Files carry real times, so the clock starts at the real one.
  const clock = new FakeClock(Date.now());
  return {
    dataDir,
    clock,
    open: (options: Partial<StoreOptions> = {}, files?: Files): Promise<Store> =>
      openStore({ clock, logger: silentLogger, ...(files && { files }) }, { ...storeOptions, dataDir, ...options }),
    advance: (spanMs: number) => clock.advance(spanMs),
    dispose: () => rm(dataDir, { recursive: true, force: true }),
  };
}
