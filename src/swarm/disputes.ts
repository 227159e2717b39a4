import type { PeerId } from '../content/peer-id.ts';
import { pieceHash } from '../content/piece-hash.ts';
import { isSignatureValid, type SignedPiece, signPiece } from '../content/signed-piece.ts';
import type { Digest } from '../oci/digest.ts';
import { type ArbitrationDeps, hasHash } from './arbitration.ts';
import type { BlobDownload } from './blob-download.ts';
import type { MemberTalk } from './member-talk.ts';
import { readSample } from './origin-sample.ts';
import { hex } from './peer-requests.ts';
import type { Scheduler } from './schedule/scheduler.ts';

/**
 * Two versions of a piece exist, each with a signature: who is right? The origin is asked for the piece. Who signed the other bytes
 * is not believed for this blob any more, its pieces are thrown away, and everybody is shown the right one under this node's own
 * signature, so that others find the same with one reading. A node whose own reading was wrong puts the right piece in its
 * place and says so itself: the others take it from there, without asking the origin.
 */
export interface DisputeDeps extends ArbitrationDeps {
  readonly scheduler: Scheduler;
  readonly talk: MemberTalk;
  readonly findDownload: (digest: Digest) => BlobDownload | undefined;
  readonly runTask: (work: (signal: AbortSignal) => Promise<void>) => void;
  readonly onStored: (download: BlobDownload, index: number) => void;
  readonly onFalseSignature: (peer: PeerId, evidence: string) => void;
  readonly decideSoon: () => void;
}

/** `moot`: the piece is not held under this hash any more. */
export type Finding = 'right' | 'wrong' | 'unreadable' | 'moot';

// A signature costs a tenth of a millisecond to check: what a member may have to say about one blob, however often it was wrong.
const maxWordsPerMember = 64;
// Readings of the origin at a member's word: two liars among eight are found with two.
const maxReadings = 8;

export class Disputes {
  readonly #deps: DisputeDeps;
  readonly #books = new WeakMap<BlobDownload, { words: Map<PeerId, number>; readings: number; reading: Set<number> }>();

  constructor(deps: DisputeDeps) {
    this.#deps = deps;
  }

  /** A member shows the piece as it holds it. */
  heard(peer: PeerId, digest: Digest, piece: SignedPiece): void {
    const download = this.#deps.findDownload(digest);
    if (download === undefined || !isOpen(download) || piece.index >= download.plan.pieceCount) return;
    const book = this.#bookOf(download);
    const words = (book.words.get(peer) ?? 0) + 1;
    book.words.set(peer, words);
    const held = download.heldPieces.get(piece.index);
    if (words > maxWordsPerMember || piece.signer === this.#deps.identity.peerId) return;
    if (held !== undefined && hasHash(held, piece.hash)) return;
    if (!isSignatureValid({ digest, sizeBytes: download.sizeBytes }, piece)) {
      const evidence = `${digest} piece ${piece.index}: signature is not ${piece.signer}'s`;
      this.#deps.onFalseSignature(peer, evidence);
      return;
    }
    if (download.distrusted.has(piece.signer)) download.suspect(piece);
    else if (held !== undefined && held.signer === piece.signer && piece.signer === peer)
      this.#takeBack(download, held);
    else if (held !== undefined) this.#lookUp(download, held, piece);
  }

  /** Reads a held piece from the origin; what is wrong is put right, and its signer not believed any more. */
  async check(download: BlobDownload, piece: SignedPiece, signal: AbortSignal, other?: SignedPiece): Promise<Finding> {
    const bytes = await readSample(this.#deps, download, piece.index, signal);
    if (bytes === undefined) return 'unreadable';
    const held = download.heldPieces.get(piece.index);
    if (!isOpen(download) || held === undefined || !hasHash(held, piece.hash)) return 'moot';
    const hash = pieceHash(bytes);
    const own = signPiece(this.#deps.identity, download, piece.index, hash);
    if (!hasHash(piece, hash)) {
      await this.#expose(download, piece, own, bytes);
      return 'wrong';
    }
    if (other !== undefined) await this.#expose(download, other, own, bytes);
    return 'right';
  }

  /** Its own signer says that a piece was wrong: that one goes, and is taken from there anew. */
  #takeBack(download: BlobDownload, held: SignedPiece): void {
    const { scheduler, talk, logger, decideSoon, runTask } = this.#deps;
    const { digest } = download;
    logger.warn({ digest, piece: held.index, peer: held.signer }, 'a signer takes a piece back');
    download.suspect(held, true);
    runTask(async () => {
      await download.dropPieces([held.index]);
      scheduler.distrust(digest, [held.index], []);
      scheduler.memberHas(digest, held.signer, [held.index]);
      talk.restate(download, false);
      decideSoon();
    });
  }

  #lookUp(download: BlobDownload, held: SignedPiece, other: SignedPiece): void {
    const book = this.#bookOf(download);
    if (book.reading.has(held.index) || book.readings >= maxReadings) return;
    book.readings += 1;
    book.reading.add(held.index);
    this.#deps.runTask(async (signal) => {
      try {
        await this.check(download, held, signal, other);
      } finally {
        book.reading.delete(held.index);
      }
    });
  }

  async #expose(download: BlobDownload, wrong: SignedPiece, own: SignedPiece, bytes: Uint8Array): Promise<void> {
    const { identity, scheduler, talk, logger, onStored, decideSoon } = this.#deps;
    const { digest } = download;
    const isOwn = wrong.signer === identity.peerId;
    const doubted = [...download.heldPieces.values()].filter(({ signer }) => signer === wrong.signer);
    const drop = isOwn ? [wrong] : doubted;
    const evidence = `signed ${hex(wrong.hash)} (signature ${hex(wrong.signature)}), the origin has ${hex(own.hash)}`;
    logger.warn(
      { digest, piece: wrong.index, signer: wrong.signer, evidence, droppedPieces: drop.length },
      isOwn ? 'an own reading was wrong: read again' : 'a signer is suspect: its pieces are fetched again',
    );
    if (!isOwn) {
      download.distrusted.add(wrong.signer);
      for (const piece of [wrong, ...doubted]) download.suspect(piece);
    }
    const indexes = drop.map(({ index }) => index);
    if (indexes.length > 0) await download.dropPieces(indexes);
    if (download.hasEnded) return;
    scheduler.distrust(digest, indexes, isOwn ? [] : [wrong.signer]);
    // The right one is at hand.
    if (await download.storePiece(own, bytes, { from: 'origin' })) onStored(download, own.index);
    talk.tellAll(digest, { kind: 'signed', digest, piece: own });
    talk.restate(download, !isOwn);
    decideSoon();
  }

  #bookOf(download: BlobDownload) {
    const book = this.#books.get(download) ?? { words: new Map(), readings: 0, reading: new Set() };
    this.#books.set(download, book);
    return book;
  }
}

/** Whether pieces can still be thrown away. */
function isOpen(download: BlobDownload): boolean {
  return !download.hasEnded && !download.isVerified && download.state !== 'waiting';
}
