import type { Clock } from '../../lib/clock.ts';
import { createKeyValueMetadataStore } from '../metadata/key-value-metadata-store.ts';
import { LeaseTable } from '../metadata/lease-table.ts';
import { noNameLog } from '../metadata/name-log.ts';
import type { Store } from '../store.ts';
import { MemoryBlobStore } from './memory-blob-store.ts';
import { createMemoryKeyValue } from './memory-key-value.ts';

/** Creates a store that lives in memory: the twin of the disk store for tests, simulations and nodes without a disk. */
export function createMemoryStore(deps: { readonly clock: Clock }): Store {
  const keyValue = createMemoryKeyValue();
  const blobs = new MemoryBlobStore(deps.clock);
  const metadata = createKeyValueMetadataStore({ keyValue, leases: new LeaseTable(keyValue), names: noNameLog });
  return {
    blobs,
    metadata,
    recovered: Promise.resolve(),
    async [Symbol.asyncDispose]() {
      await blobs.close();
      await keyValue.close();
    },
  };
}
