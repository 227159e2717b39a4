import { pieceAt, pieceRange } from '../content/piece-plan.ts';
import { isCode } from '../lib/errors.ts';
import type { BlobHandle } from '../store/blob-store.ts';
import type { BlobDownload } from './blob-download.ts';
import { SwarmError } from './errors.ts';
import type { DownloadReader } from './swarm.ts';

/**
 * Streams a range of a download: what is verified by piece now, the last piece's worth of the range only once the digest of the
 * whole blob is, and from the store when it is there.
 */
export class BlobDownloadReader implements DownloadReader {
  readonly #download: BlobDownload;
  readonly #id: number;
  readonly #end: number;
  readonly #withheldFrom: number;
  readonly #onClose: () => void;
  #handle: Promise<BlobHandle> | undefined;
  #wake: (() => void) | undefined;
  #isClosed = false;

  constructor(download: BlobDownload, id: number, range: { start: number; end: number }, onClose: () => void) {
    this.#download = download;
    this.#id = id;
    this.#end = Math.min(range.end, download.sizeBytes);
    this.#withheldFrom = Math.max(range.start, this.#end - download.plan.pieceBytes);
    this.#onClose = onClose;
  }

  async read(target: Uint8Array, position: number, signal: AbortSignal): Promise<number> {
    if (position >= this.#end || target.length === 0) return 0;
    const download = this.#download;
    for (;;) {
      signal.throwIfAborted();
      if (download.error !== undefined) throw download.error;
      const limit = Math.min(this.#readableEnd(position), position + target.length);
      if (limit > position) {
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
    if (!download.hasPiece(piece)) return position;
    // A few pieces ahead are enough for one buffer.
    const last = piece + 8;
    while (piece < last && download.hasPiece(piece + 1)) piece += 1;
    return Math.min(pieceRange(download.plan, piece).end, this.#withheldFrom);
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
