import { pieceHash } from '../../content/piece-hash.ts';
import { type PiecePlan, pieceRange, planPieces } from '../../content/piece-plan.ts';
import type { SignedPiece } from '../../content/signed-piece.ts';
import { KeyedMutex } from '../../lib/keyed-mutex.ts';
import type { Digest } from '../../oci/digest.ts';
import type { BlobRecord, Ingest } from '../blob-store.ts';
import { StoreError } from '../errors.ts';
import type { Files } from '../files/files.ts';
import { OpenFile } from '../files/open-file.ts';
import { checkComplete, checkPiece, readableEnd } from '../ingest-rules.ts';
import { IngestLife } from './ingest-life.ts';
import { PieceJournal } from './piece-journal.ts';

export interface DiskIngestDeps {
  readonly files: Files;
  /** Makes the blob complete from the data file, which is on disk by then; tells whether the file was moved for it. */
  commit(ingest: IngestFile, pieces: readonly SignedPiece[]): Promise<{ record: BlobRecord; isMoved: boolean }>;
  /** Flushes a file, a few at a time. */
  sync(file: OpenFile): Promise<void>;
  /** Hears that the ingest has ended and how many bytes it leaves behind; 0 = its files are gone. */
  ended(digest: Digest, leftBytes: number): void;
}

export type IngestFile = Pick<DiskIngest, 'digest' | 'sizeBytes' | 'path'>;

export interface IngestTarget {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly directory: string;
}

// Flushed in the background at this step, so that a commit does not wait for a whole layer to reach a slow disk.
const syncStepBytes = 64 * 1024 * 1024;

export const dataName = 'data';
export const journalName = 'pieces';

/** A sparse file of full length beside a journal of what it holds. Its life: `IngestLife`. */
export class DiskIngest implements Ingest {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly path: string;
  readonly directory: string;
  readonly #deps: DiskIngestDeps;
  readonly #plan: PiecePlan;
  readonly #data: OpenFile;
  readonly #journal: PieceJournal;
  readonly #pieces: Map<number, SignedPiece>;
  readonly #pieceLocks = new KeyedMutex();
  readonly #changes = new Set<Promise<void>>();
  #unsyncedBytes = 0;
  #syncing: Promise<void> | undefined;
  #syncFailure: { readonly error: unknown } | undefined;
  #heldBytes = 0;
  readonly #life: IngestLife;

  private constructor(
    deps: DiskIngestDeps,
    target: IngestTarget,
    data: OpenFile,
    journal: PieceJournal,
    pieces: Map<number, SignedPiece>,
  ) {
    this.#deps = deps;
    this.digest = target.digest;
    this.sizeBytes = target.sizeBytes;
    this.directory = target.directory;
    this.path = `${target.directory}/${dataName}`;
    this.#life = new IngestLife(target.digest);
    this.#plan = planPieces(target.sizeBytes);
    this.#data = data;
    this.#journal = journal;
    this.#pieces = pieces;
    for (const index of pieces.keys()) this.#heldBytes += this.#pieceBytes(index);
  }

  /** Opens the directory's ingest with the pieces that still hash right, or a new one. @throws STORE_FULL, STORE_UNWRITABLE */
  static async open(deps: DiskIngestDeps, target: IngestTarget): Promise<DiskIngest> {
    const { files } = deps;
    const journalPath = `${target.directory}/${journalName}`;
    await files.makeDirectory(target.directory);
    const listed = (await PieceJournal.read(files, journalPath, target.sizeBytes)) ?? new Map<number, SignedPiece>();
    const data = await OpenFile.open(files, `${target.directory}/${dataName}`, 'create');
    try {
      // Bytes of a blob of another length, or of nobody, are of no use; a hole reads as zeros and takes no room.
      if (listed.size === 0) await data.truncate(0);
      await data.truncate(target.sizeBytes);
      const pieces = await keepTrue(data, planPieces(target.sizeBytes), listed);
      const journal = await PieceJournal.create(files, `${journalPath}.next`, target.sizeBytes, pieces.values());
      await files.rename(`${journalPath}.next`, journalPath);
      return new DiskIngest(deps, target, data, journal, pieces);
    } catch (error) {
      await data.close();
      throw error;
    }
  }

  get pieces(): ReadonlyMap<number, SignedPiece> {
    return this.#pieces;
  }

  /** Bytes of the pieces held. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Bytes that may still be written. */
  get missingBytes(): number {
    return this.sizeBytes - this.#heldBytes;
  }

  writePiece(piece: SignedPiece, bytes: Uint8Array): Promise<void> {
    return this.#change([piece.index], async () => {
      checkPiece(this.#plan, piece, bytes);
      const held = this.#pieces.get(piece.index);
      if (held !== undefined && Buffer.compare(held.hash, piece.hash) === 0) return;
      // Forgotten first: a write that fails half-way must not leave a listed piece with other bytes.
      if (held !== undefined) await this.#drop(piece.index);
      await this.#data.write(bytes, pieceRange(this.#plan, piece.index).start);
      this.#syncAhead(bytes.length);
      await this.#journal.append(piece);
      this.#heldBytes += bytes.length;
      this.#pieces.set(piece.index, piece);
    });
  }

  dropPieces(indexes: readonly number[]): Promise<void> {
    return this.#change(indexes, async () => {
      for (const index of indexes) await this.#drop(index);
    });
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.#life.checkReadable();
    const end = readableEnd(this.#plan, this.#pieces, position, target.length);
    return end <= position ? 0 : this.#data.read(target.subarray(0, end - position), position);
  }

  async commit(verified: Digest): Promise<BlobRecord> {
    this.#life.checkOpen();
    checkComplete(this.digest, verified, this.#plan, this.#pieces);
    const { record } = await this.#life.commit(
      () => this.#commit(),
      () => this.#end(false),
    );
    return record;
  }

  close(): Promise<void> {
    return this.#life.end(() => this.#end(this.#heldBytes > 0));
  }

  discard(): Promise<void> {
    return this.#life.end(() => this.#end(false));
  }

  async #commit() {
    await this.#syncing;
    // The system tells of a failed write once; a later flush would succeed over lost pages.
    if (this.#syncFailure !== undefined) throw this.#syncFailure.error;
    await flushWhole(this.#deps, this.#data, this);
    const pieces = [...this.#pieces.values()].sort((one, other) => one.index - other.index);
    return this.#deps.commit(this, pieces);
  }

  async #end(isKept: boolean): Promise<void> {
    // A write that is half done may still list its piece.
    await Promise.allSettled(this.#changes);
    await this.#syncing;
    await this.#data.close();
    await this.#journal.close();
    if (!isKept) await this.#deps.files.remove(this.directory);
    this.#deps.ended(this.digest, isKept ? this.#heldBytes : 0);
  }

  #syncAhead(bytes: number): void {
    this.#unsyncedBytes += bytes;
    if (this.#unsyncedBytes < syncStepBytes || this.#syncing !== undefined) return;
    this.#unsyncedBytes = 0;
    this.#syncing = this.#deps
      .sync(this.#data)
      .catch((error: unknown) => {
        this.#syncFailure ??= { error };
      })
      .finally(() => {
        this.#syncing = undefined;
      });
  }

  /** Runs a change of some pieces while no other touches them, and lets the end wait for it. */
  async #change(indexes: readonly number[], work: () => Promise<void>): Promise<void> {
    this.#life.checkOpen();
    const change = this.#pieceLocks.runAll(indexes.map(String), async () => {
      this.#life.checkOpen();
      await work();
    });
    this.#changes.add(change);
    try {
      await change;
    } finally {
      this.#changes.delete(change);
    }
  }

  async #drop(index: number): Promise<void> {
    if (!this.#pieces.delete(index)) return;
    this.#heldBytes -= this.#pieceBytes(index);
    await this.#journal.appendDropped(index);
  }

  #pieceBytes(index: number): number {
    const { start, end } = pieceRange(this.#plan, index);
    return end - start;
  }
}

/** Brings the bytes of a whole ingest to the disk. @throws STORE_CORRUPT */
export async function flushWhole(
  { sync }: Pick<DiskIngestDeps, 'sync'>,
  file: OpenFile,
  { path, sizeBytes }: Pick<IngestFile, 'path' | 'sizeBytes'>,
): Promise<void> {
  await sync(file);
  if (file.sizeBytes === sizeBytes) return;
  throw new StoreError('STORE_CORRUPT', 'ingest file changed its length', { details: { path } });
}

/** Hashes the listed pieces, one buffer for all, and returns those whose bytes are there. */
async function keepTrue(
  data: OpenFile,
  plan: PiecePlan,
  listed: ReadonlyMap<number, SignedPiece>,
): Promise<Map<number, SignedPiece>> {
  const held = new Map<number, SignedPiece>();
  if (listed.size === 0) return held;
  const buffer = Buffer.allocUnsafe(plan.pieceBytes);
  for (const piece of listed.values()) {
    if (piece.index >= plan.pieceCount) continue;
    const { start, end } = pieceRange(plan, piece.index);
    const bytes = buffer.subarray(0, end - start);
    const length = await data.readFully(bytes, start);
    if (length === bytes.length && Buffer.compare(pieceHash(bytes), piece.hash) === 0) held.set(piece.index, piece);
  }
  return held;
}
