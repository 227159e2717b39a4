import type { SignedPiece } from '../../content/signed-piece.ts';
import type { Clock } from '../../lib/clock.ts';
import { type Digest, digestAlgorithm, digestOf } from '../../oci/digest.ts';
import type { BlobHandle, BlobRecord, BlobStore, Ingest, StoreUsage } from '../blob-store.ts';
import { StoreError } from '../errors.ts';
import { MemoryIngest } from './memory-ingest.ts';

interface HeldBlob {
  readonly record: BlobRecord;
  readonly bytes: Uint8Array;
  signedPieces?: readonly SignedPiece[];
}

/** Blobs in memory, with the behaviour of the disk store except that nothing outlives the process. */
export class MemoryBlobStore implements BlobStore {
  readonly #clock: Clock;
  /** In order of use: opening a blob moves it to the end. */
  readonly #blobs = new Map<Digest, HeldBlob>();
  readonly #ingests = new Map<Digest, MemoryIngest>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async findBlob(digest: Digest): Promise<BlobRecord | undefined> {
    return this.#blobs.get(digest)?.record;
  }

  async openBlob(digest: Digest): Promise<BlobHandle> {
    const held = this.#blobs.get(digest);
    if (held === undefined) throw new StoreError('STORE_NOT_FOUND', 'blob is not here', { details: { digest } });
    this.#blobs.delete(digest);
    this.#blobs.set(digest, held);
    const { bytes } = held;
    return {
      digest,
      sizeBytes: bytes.length,
      async read(target, position) {
        const part = bytes.subarray(position, position + target.length);
        target.set(part);
        return part.length;
      },
      async close() {},
    };
  }

  async *walkBlobs(): AsyncIterable<BlobRecord> {
    for (const held of [...this.#blobs.values()]) yield held.record;
  }

  walkLeastRecentlyUsed(): AsyncIterable<BlobRecord> {
    return this.walkBlobs();
  }

  async openIngest(digest: Digest, sizeBytes: number): Promise<Ingest> {
    const left = this.#ingests.get(digest);
    if (left?.isOpen) {
      throw new StoreError('STORE_INGEST_OPEN', 'blob is being ingested already', { details: { digest } });
    }
    const ingest = new MemoryIngest(
      {
        commit: (bytes, pieces) => this.#keep(digest, bytes, pieces),
        forget: () => {
          if (this.#ingests.get(digest) === ingest) this.#ingests.delete(digest);
        },
      },
      digest,
      sizeBytes,
      left?.sizeBytes === sizeBytes ? left : undefined,
    );
    this.#ingests.set(digest, ingest);
    return ingest;
  }

  async writeBlob(digest: Digest, bytes: Uint8Array): Promise<BlobRecord> {
    const actual = digestOf(bytes, digestAlgorithm(digest));
    if (actual !== digest) {
      throw new StoreError('STORE_DIGEST_MISMATCH', 'bytes do not hash to their digest', {
        details: { expected: digest, actual },
      });
    }
    return this.#keep(digest, Uint8Array.from(bytes));
  }

  async findSignedPieces(digest: Digest): Promise<readonly SignedPiece[] | undefined> {
    return this.#blobs.get(digest)?.signedPieces;
  }

  async writeSignedPieces(digest: Digest, pieces: readonly SignedPiece[]): Promise<void> {
    const held = this.#blobs.get(digest);
    if (held === undefined) throw new StoreError('STORE_NOT_FOUND', 'blob is not here', { details: { digest } });
    held.signedPieces = [...pieces];
  }

  async quarantineBlob(digest: Digest): Promise<void> {
    this.#blobs.delete(digest);
  }

  async removeBlob(digest: Digest): Promise<void> {
    this.#blobs.delete(digest);
  }

  async usage(): Promise<StoreUsage> {
    const sum = (sizes: Iterable<number>) => [...sizes].reduce((total, size) => total + size, 0);
    return {
      blobs: this.#blobs.size,
      blobBytes: sum(this.#blobs.values().map((held) => held.record.sizeBytes)),
      ingests: this.#ingests.size,
      ingestBytes: sum(this.#ingests.values().map((ingest) => ingest.heldBytes)),
    };
  }

  /** Closes ingests still open; their pieces stay for a later `openIngest`. */
  async close(): Promise<void> {
    for (const ingest of this.#ingests.values()) await ingest.close();
  }

  #keep(digest: Digest, bytes: Uint8Array, signedPieces?: readonly SignedPiece[]): BlobRecord {
    const held = this.#blobs.get(digest) ?? {
      record: { digest, sizeBytes: bytes.length, storedAtMs: this.#clock.wallMs() },
      bytes,
    };
    if (signedPieces !== undefined) held.signedPieces ??= signedPieces;
    this.#blobs.set(digest, held);
    return held.record;
  }
}
