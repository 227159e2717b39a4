import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';
import { ExpiringCache } from '../lib/expiring-cache.ts';
import type { Digest } from '../oci/digest.ts';

/**
 * Remembers signers that were proven wrong once. One wrong piece may be the fault of the origin, a proxy or a disk, and the node that
 * read it is honest: it is a suspect. The second one, of the same blob or another, is no accident, nor is the first if it was told and
 * stands by it. A signer that itself took its word back is held to account once per blob, however many pieces it was.
 */
export interface WrongPiece {
  readonly signer: PeerId;
  readonly evidence: string;
  readonly isTakenBack: boolean;
  /** Its signer had time to look again, and did not take it back. */
  readonly isStoodBy: boolean;
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
  readonly #strikes: ExpiringCache<PeerId, { readonly digest: Digest; readonly evidence: string }>;

  constructor(clock: Clock) {
    this.#strikes = new ExpiringCache(clock, maxSuspects);
  }

  /** The digest of a blob is proven, and with it that these pieces were signed wrongly. */
  judge(digest: Digest, wrong: readonly WrongPiece[]): Sentence[] {
    const bySigner = Map.groupBy(wrong, ({ signer }) => signer);
    return [...bySigner].map(([signer, pieces]) => {
      const own =
        pieces.find(({ isStoodBy }) => isStoodBy) ?? pieces.find(({ isTakenBack }) => !isTakenBack) ?? pieces[0];
      // The same blob fetched twice is the same accident.
      const known = this.#strikes.find(signer);
      const before = known?.digest === digest ? undefined : known;
      const lies = pieces.filter(({ isTakenBack }) => !isTakenBack).length;
      const evidence = [before?.evidence, own?.evidence].filter((text) => text !== undefined).join('; ');
      this.#strikes.delete(signer);
      if (before !== undefined || lies > 1 || own?.isStoodBy === true) return { signer, evidence, isBanned: true };
      this.#strikes.put(signer, { digest, evidence }, rememberedMs);
      return { signer, evidence, isBanned: false };
    });
  }
}
