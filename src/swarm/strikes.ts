import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';
import type { Digest } from '../oci/digest.ts';

/**
 * Remembers signers that were proven wrong once. One wrong piece may be the fault of the origin, a proxy or a disk, and the node that
 * read it is honest: it is a suspect. The second one, of the same blob or another, is no accident. A signer that itself took
 * its word back is held to account once per blob, however many pieces it was.
 */
export interface WrongPiece {
  readonly signer: PeerId;
  readonly evidence: string;
  readonly isTakenBack: boolean;
}

export interface Sentence {
  readonly signer: PeerId;
  readonly evidence: string;
  readonly isBanned: boolean;
}

// A day: an origin that gives wrong bytes once a day to the same node is worth a ban's hour to find out about.
const rememberedMs = 86_400_000;
// A fleet of a thousand, each of which was wrong once.
const maxSuspects = 1024;

export class Strikes {
  readonly #clock: Pick<Clock, 'wallMs'>;
  readonly #strikes = new Map<PeerId, { digest: Digest; evidence: string; atMs: number }>();

  constructor(clock: Pick<Clock, 'wallMs'>) {
    this.#clock = clock;
  }

  /** The digest of a blob is proven, and with it that these pieces were signed wrongly. */
  judge(digest: Digest, wrong: readonly WrongPiece[]): Sentence[] {
    const bySigner = Map.groupBy(wrong, ({ signer }) => signer);
    return [...bySigner].map(([signer, pieces]) => {
      const own = pieces.find(({ isTakenBack }) => !isTakenBack) ?? pieces[0];
      const before = this.#find(signer, digest);
      const lies = pieces.filter(({ isTakenBack }) => !isTakenBack).length;
      const evidence = [before?.evidence, own?.evidence].filter((text) => text !== undefined).join('; ');
      this.#strikes.delete(signer);
      if (before !== undefined || lies > 1) return { signer, evidence, isBanned: true };
      this.#strikes.set(signer, { digest, evidence, atMs: this.#clock.wallMs() });
      for (const oldest of this.#strikes.keys()) {
        if (this.#strikes.size <= maxSuspects) break;
        this.#strikes.delete(oldest);
      }
      return { signer, evidence, isBanned: false };
    });
  }

  /** What is remembered of another blob; the same one fetched twice is the same accident. */
  #find(signer: PeerId, digest: Digest) {
    const strike = this.#strikes.get(signer);
    if (strike === undefined || strike.digest === digest || this.#clock.wallMs() - strike.atMs >= rememberedMs)
      return undefined;
    return strike;
  }
}
