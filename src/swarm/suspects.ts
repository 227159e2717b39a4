import type { SignedPiece } from '../content/signed-piece.ts';
import type { Clock } from '../lib/clock.ts';

/**
 * Pieces of one blob that were thrown away because they are doubted. They are not taken again under the same hash, and once the digest is right
 * it is seen whose fault each was (`provenWrong` in `arbitration.ts`).
 */
export interface Suspect {
  readonly piece: SignedPiece;
  /** Its signer said so itself, before anybody else did. */
  readonly isTakenBack: boolean;
  /** When its signer was shown another version, for it to look again. */
  readonly shownAtMs: number | undefined;
  /** The version its signer put in its place; false as well, perhaps. */
  readonly corrected: SignedPiece | undefined;
}

export class Suspects {
  readonly #clock: Clock;
  readonly #suspects = new Map<string, { -readonly [Key in keyof Suspect]: Suspect[Key] }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  [Symbol.iterator](): Iterator<Suspect> {
    return this.#suspects.values();
  }

  add(piece: SignedPiece, isTakenBack = false): void {
    const key = keyOf(piece);
    if (this.#suspects.has(key) || this.#suspects.size >= maxSuspects) return;
    this.#suspects.set(key, { piece, isTakenBack, shownAtMs: undefined, corrected: undefined });
  }

  has(piece: SignedPiece): boolean {
    const suspect = this.#suspects.get(keyOf(piece));
    return suspect !== undefined && isSameHash(suspect.piece, piece);
  }

  /** Whether this is another version of a piece that its signer stood for before. */
  corrects(piece: SignedPiece): boolean {
    const suspect = this.#suspects.get(keyOf(piece));
    return suspect !== undefined && !isSameHash(suspect.piece, piece);
  }

  /** Its signer is shown another version now: who is honest reads again and corrects itself. */
  showedSigner(piece: SignedPiece): void {
    const suspect = this.#suspects.get(keyOf(piece));
    if (suspect !== undefined) suspect.shownAtMs ??= this.#clock.nowMs();
  }

  /** Its signer itself stands for these bytes now. */
  signerShows(piece: SignedPiece): void {
    const suspect = this.#suspects.get(keyOf(piece));
    if (suspect !== undefined) suspect.corrected = piece;
  }
}

const keyOf = ({ signer, index }: SignedPiece) => `${signer} ${index}`;
const isSameHash = (one: SignedPiece, other: SignedPiece) => Buffer.compare(one.hash, other.hash) === 0;

// Two wrong pieces of a signer are enough for a ban; this is all pieces of a layer of some GiB, about 1 MiB.
const maxSuspects = 4096;
