import { createMemoryStore } from '../../src/store/memory/memory-store.ts';
import { describeBlobStore, type StoreHarness } from '../support/blob-store-suite.ts';
import { createDiskHarness } from '../support/disk-harness.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { describeMetadataStore } from '../support/metadata-store-suite.ts';

/** The memory twin forgets at its end; opening it again hands out the same one. */
async function createMemoryHarness(): Promise<StoreHarness> {
  const clock = new FakeClock();
  const store = createMemoryStore({ clock });
  return { open: async () => store, advance: (spanMs) => clock.advance(spanMs), dispose: async () => {} };
}

for (const describeStore of [describeBlobStore, describeMetadataStore]) {
  describeStore('memory store', createMemoryHarness);
  describeStore('disk store', createDiskHarness);
}
