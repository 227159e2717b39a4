import { LRUCache } from 'lru-cache';
import { computeSignedPieces } from '../content/compute-signed-pieces.ts';
import type { PeerId } from '../content/peer-id.ts';
import { pieceHash } from '../content/piece-hash.ts';
import { pieceRange, planPieces, runRange } from '../content/piece-plan.ts';
import { type BlobKey, type NodeIdentity, type SignedPiece, signPiece } from '../content/signed-piece.ts';
import type { BufferPool } from '../lib/buffer-pool.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { readFully } from '../lib/read-fully.ts';
import { SingleFlight } from '../lib/single-flight.ts';
import type { TokenBucket } from '../lib/token-bucket.ts';
import { createDigestHash, type Digest, digestAlgorithm } from '../oci/digest.ts';
import type { PieceRun, PieceSource } from '../peer/bulk.ts';
import { PeerError } from '../peer/errors.ts';
import type { BlobHandle, BlobStore } from '../store/blob-store.ts';
import type { BanList } from './bans.ts';
import type { BlobDownload } from './blob-download.ts';
import { LentBytes } from './lent-bytes.ts';
import type { SwarmMetrics } from './swarm-metrics.ts';
import { type PacedRun, UploadPace } from './upload-pace.ts';
import { UploadQueue, type UploadTicket } from './upload-queue.ts';

/**
 * What this node gives to others: runs of pieces of complete blobs and of downloads under way, one upload slot each. Pieces of complete
 * blobs are hashed again as they are read, so that a bit that rotted on disk is noticed here and not at the peer.
 */
export interface PieceShareDeps {
  readonly blobs: BlobStore;
  readonly identity: NodeIdentity;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: SwarmMetrics;
  readonly bans: BanList;
  readonly bucket: TokenBucket;
  /** Lends the buffer in which a piece of a complete blob is checked, one to each run. */
  readonly pool: BufferPool;
  readonly findDownload: (digest: Digest) => BlobDownload | undefined;
  /** Told when a complete blob does not match its digest or its own piece hashes. */
  readonly onRot: (digest: Digest, what: string) => void;
  readonly onSent: (peer: PeerId, bytes: number) => void;
}

export interface PieceShareOptions {
  readonly slots: number;
  readonly maxWaiting: number;
  readonly retryAfterMs: number;
}

interface Upload {
  readonly paced: PacedRun;
  readonly ticket: UploadTicket;
}

// The bulk plane's own limit of pieces in one request is lower; this guards against a source called by another transport.
const maxRunPieces = 64;
// Signed pieces of blobs served lately: 128 bytes a piece, so 64 blobs of 1,000 pieces are 8 MiB.
const cachedBlobs = 64;

export class PieceShare implements PieceSource {
  readonly #deps: PieceShareDeps;
  readonly #options: PieceShareOptions;
  readonly #queue: UploadQueue;
  readonly #pace: UploadPace;
  readonly #signed = new LRUCache<Digest, SignedPiece[]>({ max: cachedBlobs });
  readonly #computing = new SingleFlight<Digest, SignedPiece[]>();

  constructor(deps: PieceShareDeps, options: PieceShareOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#queue = new UploadQueue({ slots: options.slots, maxWaiting: options.maxWaiting });
    this.#pace = new UploadPace(deps);
  }

  get running(): number {
    return this.#queue.running;
  }

  /** Forgets what is cached of a blob that is not complete any more. */
  forget(digest: Digest): void {
    this.#signed.delete(digest);
  }

  async openPieces(peer: PeerId, digest: Digest, first: number, count: number, signal: AbortSignal): Promise<PieceRun> {
    if (this.#deps.bans.has(peer)) throw this.#refuse('banned', 'PEER_ABSENT', peer, digest);
    const opened = await this.#open(digest, first, count, signal);
    if (opened === undefined) throw this.#refuse('absent', 'PEER_ABSENT', peer, digest);
    const range = runRange(planPieces(opened.blob.sizeBytes), first, count);
    let upload: Upload;
    try {
      upload = await this.#begin(peer, digest, first, range, opened.blob, signal);
    } catch (error) {
      await opened.close();
      throw error;
    }
    let isReleased = false;
    return {
      blob: opened.blob,
      pieces: opened.pieces,
      start: range.start,
      end: range.end,
      read: opened.read,
      stepBytes: upload.paced.stepBytes,
      throttle: (bytes, abort) => upload.paced.pass(bytes, abort),
      release: (sentBytes) => {
        if (isReleased) return;
        isReleased = true;
        upload.paced.end();
        this.#leave(upload.ticket);
        this.#deps.metrics.sentBytes.add(sentBytes);
        this.#deps.onSent(peer, sentBytes);
        opened
          .close()
          .catch((error: unknown) => this.#deps.logger.debug({ digest, error }, 'closing a shared blob failed'));
      },
    };
  }

  async #open(digest: Digest, first: number, count: number, signal: AbortSignal) {
    if (!Number.isInteger(first) || first < 0 || count < 1 || count > maxRunPieces) return undefined;
    const download = this.#deps.findDownload(digest);
    if (download !== undefined && !download.hasEnded) {
      const pieces: SignedPiece[] = [];
      for (let index = first; index < first + count; index += 1) {
        const piece = download.heldPieces.get(index);
        if (piece === undefined) return undefined;
        pieces.push(piece);
      }
      const blob: BlobKey = { digest, sizeBytes: download.sizeBytes };
      let handle: Promise<BlobHandle> | undefined;
      return {
        blob,
        pieces,
        read: async (target: Uint8Array, position: number) => {
          if (handle === undefined && !download.hasEnded) {
            try {
              return await download.readPiece(target, position);
            } catch (error) {
              // Committed meanwhile: the same bytes are in the store.
              await download.done.catch(() => {
                throw error;
              });
            }
          }
          handle ??= download.openComplete();
          return (await handle).read(target, position);
        },
        close: async () => {
          await (await handle)?.close();
        },
      };
    }
    return this.#openComplete(digest, first, count, signal);
  }

  async #openComplete(digest: Digest, first: number, count: number, signal: AbortSignal) {
    const record = await this.#deps.blobs.findBlob(digest);
    if (record === undefined) return undefined;
    const plan = planPieces(record.sizeBytes);
    if (first + count > plan.pieceCount) return undefined;
    const blob: BlobKey = { digest, sizeBytes: record.sizeBytes };
    const all = await this.#signedPieces(blob, signal);
    const handle = await this.#deps.blobs.openBlob(digest);
    // One piece at a time is read, checked and then handed out from memory.
    const piece = new LentBytes(this.#deps.pool);
    let loaded = -1;
    return {
      blob,
      pieces: this.#ownWord(blob, all, first, count),
      read: async (target: Uint8Array, position: number) => {
        let index = loaded;
        const current = index < 0 ? undefined : pieceRange(plan, index);
        if (current === undefined || position < current.start || position >= current.end) {
          index = first;
          while (pieceRange(plan, index).end <= position) index += 1;
          loaded = -1;
          const range = pieceRange(plan, index);
          await piece.fit(range.end - range.start, signal);
          const isWhole = (await readFully(handle, piece.bytes, range.start)) === piece.bytes.length;
          // The bytes may be another's by now: nothing that can be said of this blob.
          if (piece.isReleased) throw new Error('the run ended meanwhile');
          if (!isWhole || Buffer.compare(pieceHash(piece.bytes), all[index]?.hash ?? noHash) !== 0)
            throw this.#rotten(digest, `piece ${index} does not match its hash`);
          loaded = index;
        }
        const from = position - pieceRange(plan, index).start;
        const bytes = piece.bytes.subarray(from, from + target.length);
        target.set(bytes);
        return bytes.length;
      },
      close: async () => {
        // A read that is under way writes into the buffer until then.
        await handle.close().finally(() => piece.release());
      },
    };
  }

  #rotten(digest: Digest, what: string): PeerError {
    this.#deps.onRot(digest, what);
    return new PeerError('PEER_ABSENT', what, { details: { digest } });
  }

  async #signedPieces(blob: BlobKey, signal: AbortSignal): Promise<SignedPiece[]> {
    const cached = this.#signed.get(blob.digest);
    if (cached !== undefined) return cached;
    return this.#computing.run(blob.digest, signal, async (abort) => {
      const { blobs } = this.#deps;
      let pieces = await blobs.findSignedPieces(blob.digest);
      if (pieces?.length !== planPieces(blob.sizeBytes).pieceCount) {
        // Stored whole, or the index was rebuilt.
        pieces = await this.#computePieces(blob, abort);
        await blobs.writeSignedPieces(blob.digest, pieces);
      }
      const own = [...pieces];
      this.#signed.set(blob.digest, own);
      return own;
    });
  }

  /**
   * This node verified the digest over these very hashes, so it stands for them: who refuses the word of one signer, for a lie about another blob,
   * can still have the bytes from here. Signed as they are asked for: all of a layer at once would hold up everything else for a moment.
   */
  #ownWord(blob: BlobKey, pieces: SignedPiece[], first: number, count: number): readonly SignedPiece[] {
    const { identity } = this.#deps;
    for (let index = first; index < first + count; index += 1) {
      const piece = pieces[index];
      if (piece !== undefined && piece.signer !== identity.peerId)
        pieces[index] = signPiece(identity, blob, piece.index, piece.hash);
    }
    return pieces.slice(first, first + count);
  }

  /** Reads all of the blob, the digest once more with it: what is signed here must not be what rotted on disk meanwhile. */
  async #computePieces(blob: BlobKey, signal: AbortSignal): Promise<readonly SignedPiece[]> {
    const { blobs, identity } = this.#deps;
    const algorithm = digestAlgorithm(blob.digest);
    const hash = createDigestHash(algorithm);
    const handle = await blobs.openBlob(blob.digest);
    let pieces: readonly SignedPiece[];
    try {
      // Read in order, each byte once.
      const read = async (target: Uint8Array, position: number) => {
        const count = await handle.read(target, position);
        hash.update(target.subarray(0, count));
        return count;
      };
      pieces = await computeSignedPieces(identity, blob, read, signal);
    } finally {
      await handle.close();
    }
    if (`${algorithm}:${hash.digest('hex')}` !== blob.digest)
      throw this.#rotten(blob.digest, 'the bytes have another digest');
    return pieces;
  }

  /** Takes all that an upload needs, so that bytes follow as soon as it is answered. */
  async #begin(
    peer: PeerId,
    digest: Digest,
    first: number,
    { start, end }: { readonly start: number; readonly end: number },
    blob: BlobKey,
    signal: AbortSignal,
  ): Promise<Upload> {
    const paced = this.#pace.admit(peer, end - start);
    if (typeof paced === 'number')
      throw this.#refuse('busy', 'PEER_BUSY', peer, digest, Math.max(paced, this.#options.retryAfterMs));
    let ticket: UploadTicket | undefined;
    try {
      ticket = await this.#slot(peer, digest, first, blob, signal);
      await paced.begin(signal);
      return { paced, ticket };
    } catch (error) {
      paced.end();
      if (ticket !== undefined) this.#leave(ticket);
      throw error;
    }
  }

  #leave(ticket: UploadTicket): void {
    this.#queue.release(ticket);
    this.#showWaiting();
  }

  #slot(peer: PeerId, digest: Digest, first: number, blob: BlobKey, signal: AbortSignal): Promise<UploadTicket> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const onAbort = () => {
        if (!this.#queue.leave(ticket)) return;
        this.#showWaiting();
        reject(signal.reason);
      };
      const ticket: UploadTicket = {
        peer,
        pieceKey: `${digest}/${first}`,
        isUrgent: first < planPieces(blob.sizeBytes).headPieces,
        grant: () => {
          signal.removeEventListener('abort', onAbort);
          resolve(ticket);
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      if (!this.#queue.enter(ticket)) {
        signal.removeEventListener('abort', onAbort);
        reject(this.#refuse('busy', 'PEER_BUSY', peer, digest));
      }
      this.#showWaiting();
    });
  }

  #showWaiting(): void {
    this.#deps.metrics.uploadsWaiting.set(this.#queue.waiting);
  }

  #refuse(
    reason: 'busy' | 'absent' | 'banned',
    code: 'PEER_BUSY' | 'PEER_ABSENT',
    peer: PeerId,
    digest: Digest,
    retryAfterMs = this.#options.retryAfterMs,
  ): PeerError {
    this.#deps.metrics.refusedUploads.add(1, { reason });
    const message = code === 'PEER_BUSY' ? 'others are being sent to' : 'the pieces are not here';
    return new PeerError(code, message, { details: { peer, digest, retryAfterMs } });
  }
}

const noHash = new Uint8Array();
