import type { KeyChange, KeyRange, KeyValue } from '../key-value.ts';

/** Ordered keys in memory: a map for look-ups beside a sorted array for walks. */
export function createMemoryKeyValue(): KeyValue {
  return new MemoryKeyValue();
}

class MemoryKeyValue implements KeyValue {
  readonly #values = new Map<string, string>();
  readonly #keys: string[] = [];

  async find(key: string): Promise<string | undefined> {
    return this.#values.get(key);
  }

  async batch(changes: readonly KeyChange[]): Promise<void> {
    for (const change of changes) {
      if (change.type === 'put') {
        if (!this.#values.has(change.key)) this.#keys.splice(this.#position(change.key), 0, change.key);
        this.#values.set(change.key, change.value);
      } else if (this.#values.delete(change.key)) {
        this.#keys.splice(this.#position(change.key), 1);
      }
    }
  }

  async *walk(range: KeyRange): AsyncIterable<readonly [string, string]> {
    const start = this.#position(range.from);
    const end = Math.min(this.#position(range.to), start + (range.limit ?? Number.POSITIVE_INFINITY));
    // Copied at once: the walk must not see changes made while it is consumed.
    const entries = this.#keys.slice(start, end).map((key) => [key, this.#values.get(key) ?? ''] as const);
    yield* entries;
  }

  async close(): Promise<void> {}

  /** Returns where the key is or belongs; O(log n). */
  #position(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#keys[middle] ?? '') < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
