import type { PeerId } from '../content/peer-id.ts';
import type { SignedPiece } from '../content/signed-piece.ts';
import type { Random } from '../lib/clock.ts';

/**
 * Which pieces to read from the origin once more when a digest is wrong, in rounds that double. All members of the swarm do the same
 * at the same time, so each begins elsewhere: with what it read itself, in the order in which it did, since only it can mend
 * that for everybody; and with one piece of the signer next to it in an order all know, drawn so that no signer knows which.
 * What one finds it tells the others. Alone, a node goes through all signers and all pieces. Pure but for the injected randomness.
 */
export class AuditPlan {
  readonly #own: SignedPiece[];
  /** Signers in the order of their next turn, each with what is left of its pieces. */
  readonly #signers: SignedPiece[][];
  #count = 1;

  /** `ring`: every peer there is, in the order that all members know. */
  constructor(self: PeerId, pieces: Iterable<SignedPiece>, ring: readonly PeerId[], random: Random) {
    const bySigner = Map.groupBy(pieces, ({ signer }) => signer);
    this.#own = bySigner.get(self) ?? [];
    bySigner.delete(self);
    const place = (peer: PeerId) => (ring.indexOf(peer) - ring.indexOf(self) + ring.length) % ring.length;
    this.#signers = [...bySigner]
      .sort(([one], [other]) => place(one) - place(other))
      .map(([, signed]) =>
        signed
          .map((piece) => ({ piece, at: random.next() }))
          .sort((one, other) => one.at - other.at)
          .map(({ piece }) => piece),
      );
  }

  /** The pieces of the next round; none = every piece has had its turn. */
  next(): SignedPiece[] {
    const count = Math.min(this.#count, maxRoundPieces);
    this.#count *= 2;
    const round = this.#own.splice(0, count);
    for (let at = 0; at < count && this.#signers.length > 0; at += 1) {
      const signed = this.#signers.shift() ?? [];
      const piece = signed.pop();
      if (piece !== undefined) round.push(piece);
      if (signed.length > 0) this.#signers.push(signed);
    }
    return round;
  }
}

// Bounds the memory of a round, each piece of which is read into a buffer of its own: 4 MiB at most.
const maxRoundPieces = 4;
