import type { BlobStore } from './blob-store.ts';
import type { MetadataStore } from './metadata-store.ts';

/**
 * Both halves of what a node keeps, opened and closed together. Disposing flushes what is lazily written, closes ingests that
 * are still open (their pieces stay) and gives the data directory free.
 */
export interface Store {
  readonly blobs: BlobStore;
  readonly metadata: MetadataStore;
  /**
   * Resolves when blobs found without a record have been hashed and adopted or put aside; until then they are absent.
   * Small ones are done before the store opens, so this matters after a lost index only. Never rejects.
   */
  readonly recovered: Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
