import type { PeerId } from '../content/peer-id.ts';
import { pieceHash } from '../content/piece-hash.ts';
import { isSignatureValid, type SignedPiece, signPiece } from '../content/signed-piece.ts';
import { hex } from '../lib/hex.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';
import { type ArbitrationDeps, type Finding, hasHash } from './arbitration.ts';
import type { Ban } from './bans.ts';
import type { BlobDownload } from './blob-download.ts';
import type { MemberTalk } from './member-talk.ts';
import { readSample } from './origin-sample.ts';
import { hashOfMark, isMarkOf, marksHash, signerMark, signerOfMark } from './piece-mark.ts';
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
  readonly tasks: Pick<TaskGroup, 'run'>;
  readonly onStored: (download: BlobDownload, index: number) => void;
  readonly ban: (peer: PeerId, reason: Ban['reason'], evidence: string) => void;
  readonly decideSoon: () => void;
}

/** What was said about the pieces of one download. */
interface Book {
  /** How many pieces each member has shown, and was shown. */
  readonly words: Map<PeerId, number>;
  readonly shown: Map<PeerId, number>;
  /** Versions that members hold of pieces that this node lacks. */
  readonly marks: Map<number, readonly Told[]>;
  readings: number;
  /** Disputes about which the origin is being asked, and those that wait for the outcome. */
  readonly running: Set<Dispute>;
  readonly waiting: Dispute[];
  /** What this node has read to compare, under its own signature. */
  readonly known: Map<number, SignedPiece>;
  /** Signers that were right in a dispute, and marks of those that were not. */
  readonly right: Set<PeerId>;
  /** Members that took back what they had read. */
  readonly corrected: Set<PeerId>;
  readonly settled: Set<string>;
}

/** Which version of a piece a member says that it holds. */
interface Told {
  readonly peer: PeerId;
  readonly mark: Uint8Array;
}

/** `other`: the other version, if it was shown; `mark`: its signer's mark. */
interface Dispute {
  readonly download: BlobDownload;
  readonly held: SignedPiece;
  readonly other: SignedPiece | undefined;
  readonly mark: string;
}

const maxWaiting = 16;
// Two versions are a dispute; more are not needed for one.
const maxMarks = 2;
// Enough to meet a version of each of a few liars.
const maxShown = 8;

// A signature costs a tenth of a millisecond to check: what a member may have to say about one blob, however often it was wrong.
const maxWordsPerMember = 64;
// Readings of the origin at a member's word: two liars among eight are found with two.
const maxReadings = 8;

export class Disputes {
  readonly #deps: DisputeDeps;
  readonly #books = new WeakMap<BlobDownload, Book>();

  constructor(deps: DisputeDeps) {
    this.#deps = deps;
  }

  /** A member says which version of a piece it holds. */
  marked(peer: PeerId, digest: Digest, index: number, mark: Uint8Array): void {
    const download = this.#deps.findDownload(digest);
    if (download === undefined || !isOpen(download)) return;
    const held = download.heldPieces.get(index);
    if (held !== undefined) {
      this.#compare(download, held, peer, mark);
      return;
    }
    const { marks } = this.#bookOf(download);
    // What it said before does not count any more.
    const known = (marks.get(index) ?? []).filter((other) => other.peer !== peer);
    const isNew = known.every((other) => Buffer.compare(other.mark, mark) !== 0);
    // A copy: the mark would keep those of the whole message in memory.
    if (isNew && known.length < maxMarks) known.push({ peer, mark: new Uint8Array(mark) });
    marks.set(index, known);
  }

  /** A piece has come: whoever spoke of another version hears of it. */
  stored(download: BlobDownload, index: number): void {
    const { marks } = this.#bookOf(download);
    const held = download.heldPieces.get(index);
    const known = marks.get(index) ?? [];
    marks.delete(index);
    if (held === undefined) return;
    const { identity, talk } = this.#deps;
    const { digest } = download;
    // Before the news that this node holds it: a signer that announces another version without a word contradicts itself.
    if (held.signer === identity.peerId && download.suspects.corrects(held))
      talk.tellAll(digest, { kind: 'signed', digest, piece: held });
    for (const { peer, mark } of known) this.#compare(download, held, peer, mark);
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
    if (piece.signer === peer) download.suspects.signerShows(piece);
    if (held !== undefined && hasHash(held, piece.hash)) return;
    if (!isSignatureValid({ digest, sizeBytes: download.sizeBytes }, piece)) {
      const evidence = `${digest} piece ${piece.index}: signature is not ${piece.signer}'s`;
      this.#deps.ban(peer, 'false signature', evidence);
      return;
    }
    if (piece.signer === peer && isCorrection(piece, held, book.marks.get(piece.index))) book.corrected.add(peer);
    if (download.distrusted.has(piece.signer)) download.suspects.add(piece);
    else if (held !== undefined && held.signer === piece.signer && piece.signer === peer)
      this.#takeBack(download, held);
    else if (held !== undefined) {
      this.#lookUp({ download, held, other: piece, mark: signerMark(piece.signer).toString('latin1') });
    }
  }

  /** Reads a held piece from the origin; what is wrong is put right, and its signer not believed any more. */
  async check(download: BlobDownload, piece: SignedPiece, signal: AbortSignal, other?: SignedPiece): Promise<Finding> {
    const bytes = await readSample(this.#deps, download, piece.index, signal);
    this.#deps.logger.debug(
      { digest: download.digest, piece: piece.index, signer: piece.signer, isRead: bytes !== undefined },
      'a held piece was compared with the origin',
    );
    if (bytes === undefined) return 'unreadable';
    const held = download.heldPieces.get(piece.index);
    if (!isOpen(download) || held === undefined || !hasHash(held, piece.hash)) return 'moot';
    const hash = pieceHash(bytes);
    const own = signPiece(this.#deps.identity, download, piece.index, hash);
    this.#bookOf(download).known.set(piece.index, own);
    if (!hasHash(piece, hash)) {
      await this.#expose(download, piece, own, bytes);
      return 'wrong';
    }
    if (other !== undefined) await this.#expose(download, other, own, bytes);
    return 'right';
  }

  #compare(download: BlobDownload, held: SignedPiece, peer: PeerId, mark: Uint8Array): void {
    if (marksHash(mark, held)) return;
    const book = this.#bookOf(download);
    const other = signerOfMark(mark);
    const isOwnWord = peer === held.signer && other === signerMark(peer).toString('latin1');
    if (isOwnWord && !book.corrected.has(peer)) {
      this.#contradicted(download, held, mark);
      return;
    }
    if (isSettled(book, held, other) || isMarkOf(mark, download.distrusted)) return;
    const shown = book.shown.get(peer) ?? 0;
    if (shown >= maxShown) return;
    book.shown.set(peer, shown + 1);
    this.#deps.talk.tellOne(peer, { kind: 'signed', digest: download.digest, piece: held });
    // What it read itself, and whom it found right before, this node believes until a signature is shown against it.
    if (held.signer === this.#deps.identity.peerId || book.right.has(held.signer)) return;
    this.#lookUp({ download, held, other: undefined, mark: other });
  }

  /** Its own signer says that a piece was wrong: that one goes, and is taken from there anew. */
  #takeBack(download: BlobDownload, held: SignedPiece): void {
    const { scheduler, talk, logger, decideSoon, tasks } = this.#deps;
    const { digest } = download;
    logger.warn({ digest, piece: held.index, peer: held.signer }, 'a signer takes a piece back');
    download.suspects.add(held, true);
    tasks.run(async () => {
      await download.dropPieces([held.index]);
      scheduler.distrust(digest, [held.index], []);
      scheduler.memberHas(digest, held.signer, [held.index]);
      talk.restate(download, false);
      decideSoon();
    });
  }

  /** One reading at a time for each signer involved: its outcome usually settles the other disputes of the same. */
  #lookUp(dispute: Dispute): void {
    const { download, held, other, mark } = dispute;
    const book = this.#bookOf(download);
    if (!isOpen(download) || download.heldPieces.get(held.index) !== held) return;
    if (isSettled(book, held, mark) && other === undefined) return;
    if (other !== undefined && download.distrusted.has(other.signer)) return;
    const known = book.known.get(held.index);
    if (known !== undefined && other !== undefined) {
      if (!hasHash(other, known.hash)) this.#deps.tasks.run(() => this.#expose(download, other, known, undefined));
      return;
    }
    const concernsSame = (running: Dispute) => running.held.signer === held.signer || running.mark === mark;
    if ([...book.running].some(concernsSame)) {
      if (book.waiting.length >= maxWaiting) return;
      book.waiting.push(dispute);
      download.contested.add(held.signer);
      return;
    }
    if (book.readings >= maxReadings) return;
    book.readings += 1;
    book.running.add(dispute);
    download.contested.add(held.signer);
    this.#deps.tasks.run(async (signal) => {
      try {
        const finding = await this.check(download, held, signal, other);
        if (finding === 'right') {
          book.right.add(held.signer);
          book.settled.add(mark);
        }
      } finally {
        book.running.delete(dispute);
        download.contested.clear();
        for (const running of book.running) download.contested.add(running.held.signer);
        for (const next of book.waiting.splice(0)) this.#lookUp(next);
        download.notify();
      }
    });
  }

  /**
   * No origin need be asked about a signer that announces another version than it signed. Who has read anew shows that first, and is heard as one that
   * corrects itself.
   */
  #contradicted(download: BlobDownload, signed: SignedPiece, mark: Uint8Array): void {
    const { talk, tasks } = this.#deps;
    const { distrusted, suspects } = download;
    if (distrusted.has(signed.signer) || suspects.has(signed)) return;
    const indexes = this.#distrust(download, signed, `and announced ${hex(hashOfMark(mark))}..`);
    suspects.showedSigner(signed);
    tasks.run(async () => {
      await this.#drop(download, indexes, [signed.signer]);
      if (download.hasEnded) return;
      talk.restate(download, true);
      this.#deps.decideSoon();
    });
  }

  async #expose(
    download: BlobDownload,
    wrong: SignedPiece,
    own: SignedPiece,
    bytes: Uint8Array | undefined,
  ): Promise<void> {
    const { identity, talk, logger, onStored, decideSoon } = this.#deps;
    const { digest } = download;
    const isOwn = wrong.signer === identity.peerId;
    if (isOwn) logger.warn({ digest, piece: wrong.index }, 'an own reading was wrong: read again');
    const indexes = isOwn ? [wrong.index] : this.#distrust(download, wrong, `the origin has ${hex(own.hash)}`);
    await this.#drop(download, indexes, isOwn ? [] : [wrong.signer]);
    if (download.hasEnded) return;
    // The right one is at hand.
    const isNew = bytes !== undefined && (await download.storePiece(own, bytes, { from: 'origin' }));
    // Before the news that this node holds it, as above.
    talk.tellAll(digest, { kind: 'signed', digest, piece: own });
    if (isNew) onStored(download, own.index);
    download.suspects.showedSigner(wrong);
    talk.restate(download, !isOwn);
    decideSoon();
  }

  /** Nothing of this signer counts any more for the blob; gives the pieces to throw away. */
  #distrust(download: BlobDownload, wrong: SignedPiece, against: string): number[] {
    const doubted = [...download.heldPieces.values()].filter(({ signer }) => signer === wrong.signer);
    const evidence = `signed ${hex(wrong.hash)} (signature ${hex(wrong.signature)}), ${against}`;
    this.#deps.logger.warn(
      { digest: download.digest, piece: wrong.index, signer: wrong.signer, evidence, droppedPieces: doubted.length },
      'a signer is suspect: its pieces are fetched again',
    );
    download.distrusted.add(wrong.signer);
    for (const piece of [wrong, ...doubted]) download.suspects.add(piece);
    return doubted.map(({ index }) => index);
  }

  async #drop(download: BlobDownload, indexes: readonly number[], signers: readonly PeerId[]): Promise<void> {
    if (indexes.length > 0) await download.dropPieces(indexes);
    if (!download.hasEnded) this.#deps.scheduler.distrust(download.digest, indexes, signers);
  }

  #bookOf(download: BlobDownload) {
    let book = this.#books.get(download);
    if (book === undefined) {
      book = {
        words: new Map(),
        shown: new Map(),
        marks: new Map(),
        readings: 0,
        running: new Set(),
        waiting: [],
        known: new Map(),
        right: new Set(),
        corrected: new Set(),
        settled: new Set(),
      };
      this.#books.set(download, book);
    }
    return book;
  }
}

/** Whether the signer of a piece has said something else of it before. */
function isCorrection(piece: SignedPiece, held: SignedPiece | undefined, marks: readonly Told[] = []): boolean {
  if (held?.signer === piece.signer && !hasHash(held, piece.hash)) return true;
  return marks.some(({ peer, mark }) => peer === piece.signer && !marksHash(mark, piece));
}

/** Whether another was found right against that signer. What the signer says against itself is one more reason to look. */
function isSettled({ settled }: Book, held: SignedPiece, mark: string): boolean {
  return settled.has(mark) && mark !== signerMark(held.signer).toString('latin1');
}

/** Whether pieces can still be thrown away. */
function isOpen(download: BlobDownload): boolean {
  return !download.hasEnded && !download.isVerified && download.state !== 'waiting';
}
