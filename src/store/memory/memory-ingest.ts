import { type PiecePlan, pieceRange, planPieces } from '../../content/piece-plan.ts';
import type { SignedPiece } from '../../content/signed-piece.ts';
import type { Digest } from '../../oci/digest.ts';
import type { BlobRecord, Ingest } from '../blob-store.ts';
import { checkComplete, checkPiece, ingestClosed, readableEnd } from '../ingest-rules.ts';

interface MemoryIngestDeps {
  commit(bytes: Uint8Array, pieces: readonly SignedPiece[]): BlobRecord;
  forget(): void;
}

/** An ingest in memory; a later one of the same digest and size takes its pieces over. */
export class MemoryIngest implements Ingest {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly path = undefined;
  readonly #deps: MemoryIngestDeps;
  readonly #plan: PiecePlan;
  readonly #bytes: Uint8Array;
  readonly #pieces: Map<number, SignedPiece>;
  #isOpen = true;

  constructor(deps: MemoryIngestDeps, digest: Digest, sizeBytes: number, left?: MemoryIngest) {
    this.digest = digest;
    this.sizeBytes = sizeBytes;
    this.#deps = deps;
    this.#plan = planPieces(sizeBytes);
    this.#bytes = left === undefined ? new Uint8Array(sizeBytes) : left.#bytes;
    this.#pieces = new Map(left === undefined ? [] : left.#pieces);
  }

  get pieces(): ReadonlyMap<number, SignedPiece> {
    return this.#pieces;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get heldBytes(): number {
    let bytes = 0;
    for (const index of this.#pieces.keys()) {
      const { start, end } = pieceRange(this.#plan, index);
      bytes += end - start;
    }
    return bytes;
  }

  async writePiece(piece: SignedPiece, bytes: Uint8Array): Promise<void> {
    this.#checkOpen();
    checkPiece(this.#plan, piece, bytes);
    const held = this.#pieces.get(piece.index);
    if (held !== undefined && Buffer.compare(held.hash, piece.hash) === 0) return;
    this.#bytes.set(bytes, pieceRange(this.#plan, piece.index).start);
    this.#pieces.set(piece.index, piece);
  }

  async dropPieces(indexes: readonly number[]): Promise<void> {
    this.#checkOpen();
    for (const index of indexes) this.#pieces.delete(index);
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.#checkOpen();
    const part = this.#bytes.subarray(position, readableEnd(this.#plan, this.#pieces, position, target.length));
    target.set(part);
    return part.length;
  }

  async commit(verified: Digest): Promise<BlobRecord> {
    this.#checkOpen();
    checkComplete(this.digest, verified, this.#plan, this.#pieces);
    const pieces = [...this.#pieces.values()].sort((one, other) => one.index - other.index);
    const record = this.#deps.commit(this.#bytes, pieces);
    this.#isOpen = false;
    this.#deps.forget();
    return record;
  }

  async close(): Promise<void> {
    this.#isOpen = false;
  }

  async discard(): Promise<void> {
    this.#isOpen = false;
    this.#deps.forget();
  }

  #checkOpen(): void {
    if (!this.#isOpen) throw ingestClosed(this.digest);
  }
}
