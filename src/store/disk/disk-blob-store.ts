import { dirname } from 'node:path';
import type { SignedPiece } from '../../content/signed-piece.ts';
import type { Clock } from '../../lib/clock.ts';
import { KeyedMutex } from '../../lib/keyed-mutex.ts';
import type { Logger } from '../../lib/logger.ts';
import { Semaphore } from '../../lib/semaphore.ts';
import { type Digest, digestAlgorithm, digestOf } from '../../oci/digest.ts';
import type { BlobHandle, BlobRecord, BlobStore, Ingest, StoreUsage } from '../blob-store.ts';
import { StoreError } from '../errors.ts';
import { type Files, isAbsence } from '../files/files.ts';
import { OpenFile } from '../files/open-file.ts';
import type { BlobIndex } from '../metadata/blob-index.ts';
import type { StoreMetrics } from '../store-metrics.ts';
import type { IngestFile } from './disk-ingest.ts';
import { Ingests } from './ingests.ts';
import { fileName, type Layout } from './layout.ts';
import type { Quarantine } from './quarantine.ts';

export interface DiskBlobStoreDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: StoreMetrics;
  readonly files: Files;
  readonly layout: Layout;
  readonly index: BlobIndex;
  readonly quarantine: Quarantine;
}

export interface DiskBlobStoreOptions {
  /** What must stay free for the index, logs and the rest of the node. */
  readonly minFreeBytes: number;
}

/** What the start-up scan found. */
export interface Held {
  readonly blobs: number;
  readonly blobBytes: number;
  readonly ingests: ReadonlyMap<Digest, number>;
}

// libuv has four threads by default; flushing a big layer holds one for seconds, and reads must still find one free.
const concurrentSyncs = 2;
const never = new AbortController().signal;

/** Blob bytes in files, their records in the index. */
export class DiskBlobStore implements BlobStore {
  readonly #deps: DiskBlobStoreDeps;
  readonly #locks = new KeyedMutex();
  readonly #syncs = new Semaphore(concurrentSyncs);
  readonly #ingests: Ingests;
  #blobs: number;
  #blobBytes: number;
  #sequence = 0;

  constructor(deps: DiskBlobStoreDeps, options: DiskBlobStoreOptions, held: Held) {
    this.#deps = deps;
    this.#blobs = held.blobs;
    this.#blobBytes = held.blobBytes;
    this.#ingests = new Ingests(
      {
        ...deps,
        sync: (file) => this.#sync(file),
        commit: (ingest, pieces) => this.#commit(ingest, pieces),
        onChange: () => this.#showUsage(),
      },
      options,
      held.ingests,
    );
    this.#showUsage();
  }

  async findBlob(digest: Digest): Promise<BlobRecord | undefined> {
    return this.#deps.index.find(digest);
  }

  async openBlob(digest: Digest): Promise<BlobHandle> {
    const { index, files, layout, clock } = this.#deps;
    const record = await index.find(digest);
    if (record === undefined) throw notFound(digest);
    let file: OpenFile;
    try {
      file = await OpenFile.open(files, layout.blob(digest), 'read');
    } catch (error) {
      if (!isAbsence(error)) throw error;
      await this.#forgetLost(digest);
      throw notFound(digest);
    }
    if (file.sizeBytes !== record.sizeBytes) {
      await file.close();
      await this.quarantineBlob(digest, 'file does not have the length it was stored with');
      throw notFound(digest);
    }
    index.use(digest, clock.wallMs());
    return {
      digest,
      sizeBytes: record.sizeBytes,
      read: (target, position) => file.read(target, position),
      close: () => file.close(),
    };
  }

  walkBlobs(): AsyncIterable<BlobRecord> {
    return this.#deps.index.walk();
  }

  walkLeastRecentlyUsed(): AsyncIterable<BlobRecord> {
    return this.#deps.index.walkLeastRecentlyUsed();
  }

  openIngest(digest: Digest, sizeBytes: number): Promise<Ingest> {
    return this.#ingests.open(digest, sizeBytes);
  }

  async writeBlob(digest: Digest, bytes: Uint8Array): Promise<BlobRecord> {
    const actual = digestOf(bytes, digestAlgorithm(digest));
    if (actual !== digest) {
      throw new StoreError('STORE_DIGEST_MISMATCH', 'bytes do not hash to their digest', {
        details: { expected: digest, actual },
      });
    }
    const { files, layout } = this.#deps;
    return this.#locks.run(digest, async () => {
      const present = await this.#findPresent(digest);
      if (present !== undefined) return present;
      await this.#ingests.checkRoom(bytes.length);
      this.#sequence += 1;
      const path = `${layout.ingest}/whole-${this.#sequence}`;
      try {
        const file = await OpenFile.open(files, path, 'replace');
        try {
          await file.write(bytes, 0);
          await this.#sync(file);
        } finally {
          await file.close();
        }
        return await this.#place(path, digest, bytes.length);
      } catch (error) {
        this.#deps.metrics.commits.add(1, { result: 'failed' });
        await files.remove(path);
        throw error;
      }
    });
  }

  async findSignedPieces(digest: Digest): Promise<readonly SignedPiece[] | undefined> {
    return this.#deps.index.findSignedPieces(digest);
  }

  async writeSignedPieces(digest: Digest, pieces: readonly SignedPiece[]): Promise<void> {
    await this.#locks.run(digest, async () => {
      if ((await this.#deps.index.find(digest)) === undefined) throw notFound(digest);
      await this.#deps.index.putSignedPieces(digest, pieces);
    });
  }

  async quarantineBlob(digest: Digest, reason: string): Promise<void> {
    const { index, quarantine, layout, logger } = this.#deps;
    await this.#locks.run(digest, async () => {
      const record = await index.find(digest);
      if (record === undefined) return;
      // The file first: from here on nobody can read the bytes, and a record without a file heals by itself.
      await quarantine.take(layout.blob(digest), fileName(digest));
      await this.#removeRecord(record);
      logger.error({ digest, reason }, 'blob is corrupt and was put into quarantine');
    });
  }

  async removeBlob(digest: Digest): Promise<void> {
    const { index, files, layout, clock } = this.#deps;
    await this.#locks.run(digest, async () => {
      const record = await index.find(digest);
      if (record === undefined) return;
      this.#sequence += 1;
      const generation = `${clock.wallMs()}-${this.#sequence}`;
      const trash = `${layout.trash}/${fileName(digest)}.${generation}`;
      await this.#removeRecord(record, generation);
      // Under the lock only until the name is free: a new blob of this digest never meets the unlink.
      await renameIfThere(files, layout.blob(digest), trash);
      await files.remove(trash);
      await index.removeTombstone(digest, generation);
    });
  }

  async usage(): Promise<StoreUsage> {
    const { count, heldBytes } = this.#ingests;
    return { blobs: this.#blobs, blobBytes: this.#blobBytes, ingests: count, ingestBytes: heldBytes };
  }

  /** Takes over a file whose bytes were hashed and fit; nothing happens if the blob came back by itself meanwhile. */
  async adopt(digest: Digest, sizeBytes: number): Promise<void> {
    const { index, files, layout, clock, metrics } = this.#deps;
    await this.#locks.run(digest, async () => {
      if ((await index.find(digest)) !== undefined) return;
      if ((await files.stat(layout.blob(digest)))?.sizeBytes !== sizeBytes) return;
      await files.protect(layout.blob(digest));
      // Not waited for: without the record the file is simply found again at the next start.
      await index.put({ digest, sizeBytes, storedAtMs: clock.wallMs() }, { isDurable: false });
      metrics.adopted.add(1);
      this.#count(1, sizeBytes);
    });
  }

  /** Puts aside a file that nobody has a record of and whose bytes are wrong. */
  async rejectOrphan(digest: Digest): Promise<void> {
    const { index, quarantine, layout, logger } = this.#deps;
    await this.#locks.run(digest, async () => {
      if ((await index.find(digest)) !== undefined) return;
      await quarantine.take(layout.blob(digest), fileName(digest));
      logger.warn({ digest }, 'file without a record does not hash to its name and was put into quarantine');
    });
  }

  /** Throws away ingests nobody has open and nothing was written to since the moment. */
  purgeIngests(beforeMs: number): Promise<void> {
    return this.#ingests.purge(beforeMs);
  }

  /** Writes down which blobs were used. */
  flushUses(): Promise<void> {
    return this.#deps.index.flushUses((digest, work) => this.#locks.run(digest, work));
  }

  /** Closes ingests still open; their pieces stay. */
  close(): Promise<void> {
    return this.#ingests.close();
  }

  async #commit(
    { digest, sizeBytes, path }: IngestFile,
    pieces: readonly SignedPiece[],
  ): Promise<{ record: BlobRecord; isMoved: boolean }> {
    try {
      return await this.#locks.run(digest, async () => {
        const present = await this.#findPresent(digest);
        if (present === undefined) return { record: await this.#place(path, digest, sizeBytes, pieces), isMoved: true };
        if ((await this.#deps.index.findSignedPieces(digest)) === undefined && pieces.length > 0)
          await this.#deps.index.putSignedPieces(digest, pieces);
        return { record: present, isMoved: false };
      });
    } catch (error) {
      this.#deps.metrics.commits.add(1, { result: 'failed' });
      throw error;
    }
  }

  /** Moves a flushed file into place and records it; on failure the file is back where it was. */
  async #place(
    path: string,
    digest: Digest,
    sizeBytes: number,
    signedPieces: readonly SignedPiece[] = [],
  ): Promise<BlobRecord> {
    const { files, layout, index, clock, metrics } = this.#deps;
    const shard = layout.shard(digest);
    const target = layout.blob(digest);
    try {
      await files.rename(path, target);
    } catch (error) {
      // Rare: a store makes its shards when it is new.
      if (!isAbsence(error)) throw error;
      if (await files.makeDirectory(shard)) await files.syncDirectory(dirname(shard));
      await files.rename(path, target);
    }
    try {
      await files.syncDirectory(shard);
      await files.protect(target);
      const record = { digest, sizeBytes, storedAtMs: clock.wallMs() };
      await index.put(record, { signedPieces, isDurable: true });
      metrics.commits.add(1, { result: 'stored' });
      this.#count(1, sizeBytes);
      return record;
    } catch (error) {
      // The batch may have landed all the same; a record without a file is dropped when it is next looked at.
      await files.rename(target, path);
      throw error;
    }
  }

  async #findPresent(digest: Digest): Promise<BlobRecord | undefined> {
    const record = await this.#deps.index.find(digest);
    if (record === undefined) return undefined;
    if ((await this.#deps.files.stat(this.#deps.layout.blob(digest)))?.sizeBytes === record.sizeBytes) {
      this.#deps.metrics.commits.add(1, { result: 'present' });
      return record;
    }
    await this.#removeRecord(record);
    return undefined;
  }

  async #forgetLost(digest: Digest): Promise<void> {
    await this.#locks.run(digest, async () => {
      const record = await this.#deps.index.find(digest);
      if (record === undefined || (await this.#deps.files.stat(this.#deps.layout.blob(digest))) !== undefined) return;
      await this.#removeRecord(record);
      this.#deps.logger.error({ digest }, 'file of a stored blob is gone; it was somebody outside of shoal');
    });
  }

  async #removeRecord(record: BlobRecord, tombstone?: string): Promise<void> {
    await this.#deps.index.remove(record.digest, tombstone);
    this.#count(-1, -record.sizeBytes);
  }

  async #sync(file: OpenFile): Promise<void> {
    const release = await this.#syncs.acquire(never);
    const startedAtMs = this.#deps.clock.nowMs();
    try {
      await file.sync();
    } finally {
      release();
      this.#deps.metrics.syncSeconds.observe((this.#deps.clock.nowMs() - startedAtMs) / 1000);
    }
  }

  #count(blobs: number, bytes: number): void {
    this.#blobs += blobs;
    this.#blobBytes += bytes;
    this.#showUsage();
  }

  #showUsage(): void {
    const { metrics } = this.#deps;
    metrics.blobs.set(this.#blobs);
    metrics.blobBytes.set(this.#blobBytes);
    metrics.ingests.set(this.#ingests.count);
  }
}

function notFound(digest: Digest): StoreError {
  return new StoreError('STORE_NOT_FOUND', 'blob is not here', { details: { digest } });
}

async function renameIfThere(files: Files, from: string, to: string): Promise<void> {
  try {
    await files.rename(from, to);
  } catch (error) {
    if (!isAbsence(error)) throw error;
  }
}
