import type { DigestKey } from './digest-key.ts';
import type { Holding } from './directory.ts';

/** What two sides compare to learn whether they hold the same set: a count and 64 mixed bits. */
export interface SummaryValue {
  readonly count: number;
  readonly high: number;
  readonly low: number;
}

/** Odd, so that multiplying is a bijection: a digest held completely must not look like the same digest being fetched. */
const completeFactor = 0x9e3779b1;

/**
 * A set's summary, kept up to date in constant time per change: the XOR of the members' leading 64 bits, which are uniform because
 * they are hash output. A peer that forges digests to collide only harms its own records.
 */
export class SetSummary {
  #count = 0;
  #high = 0;
  #low = 0;

  get count(): number {
    return this.#count;
  }

  add(key: DigestKey, holding: Holding): void {
    this.#count += 1;
    this.#toggle(key, holding);
  }

  remove(key: DigestKey, holding: Holding): void {
    this.#count -= 1;
    this.#toggle(key, holding);
  }

  value(): SummaryValue {
    return { count: this.#count, high: this.#high >>> 0, low: this.#low >>> 0 };
  }

  equals(other: SummaryValue): boolean {
    return this.#count === other.count && this.#high >>> 0 === other.high && this.#low >>> 0 === other.low;
  }

  #toggle(key: DigestKey, holding: Holding): void {
    const high = leadingWord(key, 0);
    const low = leadingWord(key, 4);
    this.#high ^= high;
    this.#low ^= holding === 'complete' ? Math.imul(low ^ high, completeFactor) : low;
  }
}

function leadingWord(key: DigestKey, at: number): number {
  return (
    (key.charCodeAt(at) << 24) | (key.charCodeAt(at + 1) << 16) | (key.charCodeAt(at + 2) << 8) | key.charCodeAt(at + 3)
  );
}
