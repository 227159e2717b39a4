import type { Clock } from './clock.ts';

/** A bounded map whose entries end after a time; a full one forgets its oldest entry. */
export class ExpiringCache<Key, Value> {
  readonly #clock: Clock;
  readonly #maxEntries: number;
  readonly #entries = new Map<Key, { readonly value: Value; readonly untilMs: number }>();

  constructor(clock: Clock, maxEntries: number) {
    this.#clock = clock;
    this.#maxEntries = maxEntries;
  }

  get size(): number {
    return this.#entries.size;
  }

  find(key: Key): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (this.#clock.nowMs() < entry.untilMs) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  put(key: Key, value: Value, lifeMs: number): void {
    this.#entries.delete(key);
    if (lifeMs <= 0) return;
    this.#entries.set(key, { value, untilMs: this.#clock.nowMs() + lifeMs });
    if (this.#entries.size <= this.#maxEntries) return;
    const oldest = this.#entries.keys().next();
    if (!oldest.done) this.#entries.delete(oldest.value);
  }

  delete(key: Key): void {
    this.#entries.delete(key);
  }
}
