import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';
import { ExpiringCache } from '../lib/expiring-cache.ts';

/** Signers of pieces of blobs whose digest came out right on this node: their next pieces need less caution, not none. */
export class ProvenSigners {
  readonly #signers: ExpiringCache<PeerId, true>;

  constructor(clock: Clock) {
    this.#signers = new ExpiringCache(clock, maxSigners);
  }

  has(signer: PeerId): boolean {
    return this.#signers.find(signer) === true;
  }

  /** The digest of a blob is right: who signed what it consists of, and who signed something else. */
  judge(right: Iterable<PeerId>, wrong: Iterable<PeerId>): void {
    for (const signer of new Set(right)) this.#signers.put(signer, true, provenMs);
    for (const signer of wrong) this.#signers.delete(signer);
  }
}

// As long as a ban.
const provenMs = 3_600_000;
// A fleet of a thousand and as many that came and went.
const maxSigners = 2048;
