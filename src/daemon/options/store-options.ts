import { join } from 'node:path';
import type { Config } from '../../config/schema.ts';
import type { PrefixVerifiersOptions } from '../../content/threaded-prefix-verifiers.ts';
import type { StoreOptions } from '../../store/disk/open-store.ts';
import type { TransferHistoryOptions } from '../transfer-history.ts';

export function storeOptions(config: Config, dataDir: string): StoreOptions {
  return {
    dataDir,
    ingestMaxAgeMs: config.cache.ingestMaxAge,
    minFreeBytes: config.cache.minFreeBytes,
    // What a crash may forget of leases and uses; one small batch each time.
    flushIntervalMs: 5_000,
    quarantineMaxBytes: config.cache.quarantineMaxBytes,
  };
}

export function verifierOptions(config: Config): PrefixVerifiersOptions {
  // One a running download; the rest is a bound, not a target.
  return {
    threads: config.swarm.verifierThreads,
    // Hashed in 4 ms: what was put off is caught up before anybody waits for it, and the start of the thread, a tenth of a CPU
    // second, does not compete with the first bytes of a pull.
    startAtBytes: 4 * 1024 * 1024,
    maxOpen: 1024,
  };
}

export function diskLimits(config: Config): { readonly minFreeBytes: number; readonly maxBytes: number } {
  return { minFreeBytes: config.cache.minFreeBytes, maxBytes: config.cache.maxBytes };
}

export function historyOptions(dataDir: string): TransferHistoryOptions {
  // A hundred images of ten layers; about 1 KB each, in memory and on the disk.
  return { path: join(dataDir, 'transfers.log'), maxTransfers: 1024, maxFileBytes: 2 * 1024 * 1024 };
}
