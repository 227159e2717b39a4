import { pieceHash } from '../../content/piece-hash.ts';
import { type PiecePlan, planPieces } from '../../content/piece-plan.ts';
import type { SignedPiece } from '../../content/signed-piece.ts';
import { KeyedMutex } from '../../lib/keyed-mutex.ts';
import type { Digest } from '../../oci/digest.ts';
import type { BlobRecord, Ingest } from '../blob-store.ts';
import { OpenFile, openIfThere } from '../files/open-file.ts';
import { checkComplete, checkPiece, readableEnd } from '../ingest-rules.ts';
import { type DiskIngestDeps, flushWhole } from './disk-ingest.ts';
import { IngestLife } from './ingest-life.ts';
import { decodeHeld, encodeHeld, recordBytes } from './piece-journal.ts';

export interface OnePieceTarget {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Of the bytes; there is nothing before the piece is. */
  readonly path: string;
  /** Of the journal's record of the piece. */
  readonly recordPath: string;
  /** Whether an earlier ingest of the blob may have left its files. */
  readonly isLeft: boolean;
}

/**
 * The ingest of a blob of one piece, of which an image may have dozens: no directory, and no file before the piece is there.
 * The file is the blob as it will be; the journal's record lies beside it, written after. Its life: `IngestLife`.
 */
export class OnePieceIngest implements Ingest {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly path: string;
  readonly #recordPath: string;
  readonly #deps: DiskIngestDeps;
  readonly #plan: PiecePlan;
  readonly #pieces = new Map<number, SignedPiece>();
  readonly #changes = new KeyedMutex();
  readonly #life: IngestLife;
  #file: OpenFile | undefined;

  private constructor(deps: DiskIngestDeps, { digest, sizeBytes, path, recordPath }: OnePieceTarget) {
    this.#deps = deps;
    this.digest = digest;
    this.sizeBytes = sizeBytes;
    this.path = path;
    this.#recordPath = recordPath;
    this.#plan = planPieces(sizeBytes);
    this.#life = new IngestLife(digest);
  }

  /** Opens it with what an earlier one left, if that still hashes right. @throws STORE_UNWRITABLE */
  static async open(deps: DiskIngestDeps, target: OnePieceTarget): Promise<OnePieceIngest> {
    const ingest = new OnePieceIngest(deps, target);
    if (target.isLeft) await ingest.#takeUp();
    return ingest;
  }

  get pieces(): ReadonlyMap<number, SignedPiece> {
    return this.#pieces;
  }

  /** Bytes of the pieces held. */
  get heldBytes(): number {
    return this.#pieces.size * this.sizeBytes;
  }

  /** Bytes that may still be written. */
  get missingBytes(): number {
    return this.sizeBytes - this.heldBytes;
  }

  writePiece(piece: SignedPiece, bytes: Uint8Array): Promise<void> {
    return this.#change(async () => {
      checkPiece(this.#plan, piece, bytes);
      const held = this.#pieces.get(piece.index);
      if (held !== undefined && Buffer.compare(held.hash, piece.hash) === 0) return;
      // Forgotten first: a write that fails half-way must not leave a record beside other bytes.
      if (held !== undefined) await this.#drop();
      this.#file ??= await OpenFile.open(this.#deps.files, this.path, 'replace');
      await this.#file.write(bytes, 0);
      await this.#writeRecord(piece);
      this.#pieces.set(piece.index, piece);
    });
  }

  dropPieces(indexes: readonly number[]): Promise<void> {
    return this.#change(async () => {
      if (indexes.some((index) => this.#pieces.has(index))) await this.#drop();
    });
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.#life.checkReadable();
    const end = readableEnd(this.#plan, this.#pieces, position, target.length);
    if (end <= position || this.#file === undefined) return 0;
    return this.#file.read(target.subarray(0, end - position), position);
  }

  async commit(verified: Digest): Promise<BlobRecord> {
    this.#life.checkOpen();
    checkComplete(this.digest, verified, this.#plan, this.#pieces);
    const { record } = await this.#life.commit(
      () => this.#commit(),
      ({ isMoved }) => this.#end(isMoved ? 'moved' : 'removed'),
    );
    return record;
  }

  close(): Promise<void> {
    return this.#life.end(() => this.#end('kept'));
  }

  discard(): Promise<void> {
    return this.#life.end(() => this.#end('removed'));
  }

  async #commit() {
    const [piece] = this.#pieces.values();
    const file = this.#file;
    if (piece === undefined || file === undefined) throw new TypeError('a complete ingest has a piece and a file');
    await flushWhole(this.#deps, file, this);
    return this.#deps.commit(this, [piece]);
  }

  async #end(outcome: 'moved' | 'kept' | 'removed'): Promise<void> {
    // A write that is half done may still list its piece.
    await this.#changes.run(onlyPiece, async () => {});
    const isKept = outcome === 'kept' && this.#pieces.size > 0;
    try {
      if (this.#file === undefined) return;
      const { files } = this.#deps;
      await this.#file.close();
      if (!isKept) await files.removeFile(this.#recordPath);
      if (!isKept && outcome !== 'moved') await files.removeFile(this.path);
    } finally {
      this.#deps.ended(this.digest, isKept ? this.heldBytes : 0);
    }
  }

  async #takeUp(): Promise<void> {
    const { files } = this.#deps;
    const record = await openIfThere(files, this.#recordPath, 'read');
    const piece = record === undefined ? undefined : await readRecord(record);
    this.#file = await openIfThere(files, this.path, 'write');
    if (this.#file === undefined) return;
    try {
      const bytes = Buffer.alloc(this.sizeBytes);
      const isWhole = this.#file.sizeBytes === bytes.length && (await this.#file.readFully(bytes, 0)) === bytes.length;
      if (piece?.index === 0 && isWhole && Buffer.compare(pieceHash(bytes), piece.hash) === 0) {
        this.#pieces.set(piece.index, piece);
      } else {
        // Bytes of a blob of another length, or of nobody, are of no use.
        await this.#drop();
      }
    } catch (error) {
      await this.#file.close();
      throw error;
    }
  }

  async #writeRecord(piece: SignedPiece): Promise<void> {
    const record = await OpenFile.open(this.#deps.files, this.#recordPath, 'replace');
    try {
      await record.write(encodeHeld(piece), 0);
    } finally {
      await record.close();
    }
  }

  async #drop(): Promise<void> {
    this.#pieces.clear();
    await this.#deps.files.removeFile(this.#recordPath);
    await this.#file?.truncate(0);
  }

  /** Runs one change after the other, and lets the end wait for it. */
  #change(work: () => Promise<void>): Promise<void> {
    return this.#changes.run(onlyPiece, async () => {
      this.#life.checkOpen();
      await work();
    });
  }
}

const onlyPiece = '0';

async function readRecord(file: OpenFile): Promise<SignedPiece | undefined> {
  try {
    const record = Buffer.alloc(recordBytes);
    return (await file.readFully(record, 0)) === recordBytes ? decodeHeld(record) : undefined;
  } finally {
    await file.close();
  }
}
