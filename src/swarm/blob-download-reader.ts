import { Bitfield } from '../content/bitfield.ts';
import { type PiecePlan, pieceAt, pieceRange } from '../content/piece-plan.ts';
import type { SignedPiece } from '../content/signed-piece.ts';
import { isCode } from '../lib/errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobHandle } from '../store/blob-store.ts';
import { SwarmError } from './errors.ts';
import type { DownloadReader, Transfer } from './swarm.ts';

/**
 * Streams a range of a download: what is verified by piece now, the last piece's worth of the range only once the digest of the
 * whole blob is, and from the store when it is there. When pieces were thrown away and came anew, a reader that gave
 * out other bytes fails at once: it never completes on wrong bytes.
 */
/** What a reader needs of its download. */
export interface ReadableDownload {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly plan: PiecePlan;
  readonly state: Transfer['state'];
  readonly error: SwarmError | undefined;
  /** Whether the digest of the whole blob is verified. */
  readonly isVerified: boolean;
  readonly done: Promise<void>;
  /** Whether bytes of the piece may be given to a client now. */
  canGive(index: number): boolean;
  readPiece(target: Uint8Array, position: number): Promise<number>;
  openComplete(): Promise<BlobHandle>;
  onReader(reader: number, piece: number | undefined): void;
}

const noHash = new Uint8Array();

export class BlobDownloadReader implements DownloadReader {
  readonly #download: ReadableDownload;
  readonly #id: number;
  readonly #end: number;
  readonly #withheldFrom: number;
  readonly #onClose: () => void;
  /** Pieces of which bytes were given out. */
  readonly #given: Bitfield;
  /** Pieces that were given out and thrown away later, each with the hash it had then. */
  readonly #doubted: SignedPiece[] = [];
  #error: SwarmError | undefined;
  #handle: Promise<BlobHandle> | undefined;
  #wake: (() => void) | undefined;
  #isClosed = false;

  constructor(download: ReadableDownload, id: number, range: { start: number; end: number }, onClose: () => void) {
    this.#download = download;
    this.#id = id;
    this.#end = Math.min(range.end, download.sizeBytes);
    this.#withheldFrom = Math.max(range.start, this.#end - download.plan.pieceBytes);
    this.#onClose = onClose;
    this.#given = new Bitfield(download.plan.pieceCount);
  }

  /** The digest was wrong: these pieces are thrown away. */
  doubt(pieces: readonly SignedPiece[]): void {
    for (const piece of pieces) if (this.#given.has(piece.index)) this.#doubted.push(piece);
  }

  /** A doubted piece has come anew. With other bytes than those given out there is no way to a right end: better cut now than late. */
  replaced(piece: SignedPiece): void {
    for (const { index, hash } of this.#doubted) {
      if (index === piece.index && Buffer.compare(piece.hash, hash) !== 0) this.#fail(index);
    }
  }

  /** The digest is right over these pieces. */
  settle(proven: ReadonlyMap<number, SignedPiece>): void {
    for (const { index, hash } of this.#doubted) {
      if (Buffer.compare(proven.get(index)?.hash ?? noHash, hash) !== 0) this.#fail(index);
    }
  }

  async read(target: Uint8Array, position: number, signal: AbortSignal): Promise<number> {
    if (position >= this.#end || target.length === 0) return 0;
    const download = this.#download;
    for (;;) {
      signal.throwIfAborted();
      const error = this.#error ?? download.error;
      if (error !== undefined) throw error;
      const limit = Math.min(this.#readableEnd(position), position + target.length);
      if (limit > position) {
        if (!download.isVerified) this.#give(position, limit);
        const count = await this.#readNow(target.subarray(0, limit - position), position);
        if (count > 0) return count;
      } else {
        download.onReader(this.#id, pieceAt(download.plan, position));
        await this.#change(signal);
      }
    }
  }

  wake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#download.onReader(this.#id, undefined);
    this.#onClose();
    this.#handle?.then((handle) => handle.close()).catch(() => {});
    this.wake();
  }

  /** How far bytes may be given from here; `position` or less = wait. */
  #readableEnd(position: number): number {
    const download = this.#download;
    if (download.isVerified) return this.#end;
    let piece = pieceAt(download.plan, position);
    if (!download.canGive(piece)) return position;
    // A few pieces ahead are enough for one buffer.
    const last = piece + 8;
    while (piece < last && download.canGive(piece + 1)) piece += 1;
    return Math.min(pieceRange(download.plan, piece).end, this.#withheldFrom);
  }

  #fail(piece: number): void {
    const details = { digest: this.#download.digest, piece };
    this.#error = new SwarmError('SWARM_DIGEST_MISMATCH', 'bytes that were given out proved wrong', { details });
  }

  /** Before the read, so that pieces thrown away while it runs count as given. */
  #give(start: number, end: number): void {
    const { plan } = this.#download;
    for (let piece = pieceAt(plan, start); piece <= pieceAt(plan, end - 1); piece += 1) this.#given.add(piece);
  }

  async #readNow(target: Uint8Array, position: number): Promise<number> {
    const download = this.#download;
    if (download.state !== 'complete') {
      try {
        return await download.readPiece(target, position);
      } catch (error) {
        // The commit closed the ingest between the check and the read: the blob is complete now or about to be.
        if (!isCode(error, 'STORE_INGEST_CLOSED')) throw error;
        await download.done;
      }
    }
    this.#handle ??= download.openComplete();
    const count = await (await this.#handle).read(target, position);
    if (count > 0) return count;
    throw new SwarmError('SWARM_UNOBTAINABLE', 'the stored blob ends before its size', {
      details: { digest: download.digest },
    });
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#wake = undefined;
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#wake = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      if (this.#isClosed) this.wake();
    });
  }
}
