import { planPieces } from '../../content/piece-plan.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Ingest } from '../blob-store.ts';
import { StoreError } from '../errors.ts';
import type { Files } from '../files/files.ts';
import { DiskIngest, type DiskIngestDeps, journalName } from './disk-ingest.ts';
import type { Layout } from './layout.ts';
import { OnePieceIngest } from './one-piece-ingest.ts';

export interface IngestsDeps {
  readonly files: Files;
  readonly layout: Layout;
  readonly sync: DiskIngestDeps['sync'];
  readonly commit: DiskIngestDeps['commit'];
  /** Hears of every ingest that opens or ends. */
  readonly onChange: () => void;
}

export interface IngestsOptions {
  /** What must stay free for the index, logs and the rest of the node. */
  readonly minFreeBytes: number;
}

/** One that is being opened: nothing is held yet, and nothing missing until the disk is known to have room for it. */
interface OpeningIngest {
  missingBytes: number;
  readonly heldBytes: 0;
}

/**
 * The ingests of a disk store: those that are open, one per digest, what others have left behind, and the room on the disk that the
 * open ones were promised.
 */
export class Ingests {
  readonly #deps: IngestsDeps;
  readonly #options: IngestsOptions;
  readonly #open = new Map<Digest, DiskIngest | OnePieceIngest | OpeningIngest>();
  /** Bytes in ingests that nobody has open. */
  readonly #left: Map<Digest, number>;
  #freeBytes: Promise<number> | undefined;

  constructor(deps: IngestsDeps, options: IngestsOptions, left: ReadonlyMap<Digest, number>) {
    this.#deps = deps;
    this.#options = options;
    this.#left = new Map(left);
  }

  get count(): number {
    return this.#left.size + this.#open.size;
  }

  get heldBytes(): number {
    let bytes = 0;
    for (const left of this.#left.values()) bytes += left;
    for (const ingest of this.#open.values()) bytes += ingest.heldBytes;
    return bytes;
  }

  /** Opens the ingest of a digest. @throws STORE_INGEST_OPEN, STORE_FULL, STORE_UNWRITABLE */
  async open(digest: Digest, sizeBytes: number): Promise<Ingest> {
    if (this.#open.has(digest)) {
      throw new StoreError('STORE_INGEST_OPEN', 'blob is being ingested already', { details: { digest } });
    }
    const opening: OpeningIngest = { missingBytes: 0, heldBytes: 0 };
    this.#open.set(digest, opening);
    try {
      await this.#claimRoom(sizeBytes - Math.min(sizeBytes, this.#left.get(digest) ?? 0), opening);
      const ingest = await this.#openFiles(digest, sizeBytes);
      this.#open.set(digest, ingest);
      this.#left.delete(digest);
      this.#deps.onChange();
      return ingest;
    } catch (error) {
      this.#open.delete(digest);
      throw error;
    }
  }

  /** Throws away ingests nobody has open and nothing was written to since the moment. */
  async purge(beforeMs: number): Promise<void> {
    const { files, layout } = this.#deps;
    for (const digest of [...this.#left.keys()]) {
      if (this.#open.has(digest)) continue;
      const stat =
        (await files.stat(layout.onePieceOf(digest).recordPath)) ??
        (await files.stat(`${layout.ingestOf(digest)}/${journalName}`));
      if (stat !== undefined && stat.modifiedAtMs >= beforeMs) continue;
      // Somebody may have opened it during the stat; what is claimed here cannot be opened until it is gone.
      if (this.#open.has(digest)) continue;
      this.#open.set(digest, { missingBytes: 0, heldBytes: 0 });
      try {
        await files.remove(layout.ingestOf(digest));
        await this.#removeOnePiece(digest);
        this.#left.delete(digest);
      } finally {
        this.#open.delete(digest);
      }
    }
    this.#deps.onChange();
  }

  /** Closes ingests still open; their pieces stay. */
  async close(): Promise<void> {
    for (const ingest of [...this.#open.values()]) if ('close' in ingest) await ingest.close();
  }

  /** Refuses early what the disk cannot take, counting what open ingests still have to write. @throws STORE_FULL */
  checkRoom(newBytes: number): Promise<void> {
    return this.#claimRoom(newBytes, undefined);
  }

  async #openFiles(digest: Digest, sizeBytes: number): Promise<DiskIngest | OnePieceIngest> {
    const { files, layout, sync, commit } = this.#deps;
    const isLeft = this.#left.has(digest);
    const isOnePiece = planPieces(sizeBytes).pieceCount === 1;
    const deps = { files, sync, commit, ended: (ended: Digest, leftBytes: number) => this.#ended(ended, leftBytes) };
    // What is there of a blob of another size is of no use.
    if (isLeft && isOnePiece) await files.remove(layout.ingestOf(digest));
    if (isLeft && !isOnePiece) await this.#removeOnePiece(digest);
    return isOnePiece
      ? OnePieceIngest.open(deps, { digest, sizeBytes, ...layout.onePieceOf(digest), isLeft })
      : DiskIngest.open(deps, { digest, sizeBytes, directory: layout.ingestOf(digest) });
  }

  async #removeOnePiece(digest: Digest): Promise<void> {
    const { files, layout } = this.#deps;
    const { path, recordPath } = layout.onePieceOf(digest);
    await files.removeFile(recordPath);
    await files.removeFile(path);
  }

  /**
   * Many that open at the same moment are counted one after the other: nothing may be awaited between the count and the claim. They
   * share one look at the disk.
   */
  async #claimRoom(newBytes: number, opening: OpeningIngest | undefined): Promise<void> {
    const { files, layout } = this.#deps;
    this.#freeBytes ??= files.freeBytes(layout.dataDir).finally(() => {
      this.#freeBytes = undefined;
    });
    const freeBytes = await this.#freeBytes;
    let promisedBytes = 0;
    for (const ingest of this.#open.values()) promisedBytes += ingest.missingBytes;
    const neededBytes = newBytes + promisedBytes + this.#options.minFreeBytes;
    if (freeBytes >= neededBytes) {
      if (opening !== undefined) opening.missingBytes = newBytes;
      return;
    }
    throw new StoreError('STORE_FULL', 'the disk is too full for the blob', {
      details: { neededBytes, freeBytes, path: layout.dataDir },
    });
  }

  #ended(digest: Digest, leftBytes: number): void {
    this.#open.delete(digest);
    if (leftBytes > 0) this.#left.set(digest, leftBytes);
    this.#deps.onChange();
  }
}
