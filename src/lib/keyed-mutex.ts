/** Serialises work per key. `runAll` takes several keys in sorted order, so that two callers can never wait for each other. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<void>>();

  get size(): number {
    return this.#tails.size;
  }

  async run<Value>(key: string, work: () => Promise<Value>): Promise<Value> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const done = Promise.withResolvers<void>();
    const tail = before.then(() => done.promise);
    this.#tails.set(key, tail);
    await before;
    try {
      return await work();
    } finally {
      done.resolve();
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }

  runAll<Value>(keys: readonly string[], work: () => Promise<Value>): Promise<Value> {
    const nested = [...new Set(keys)]
      .sort()
      .reduceRight<() => Promise<Value>>((inner, key) => () => this.run(key, inner), work);
    return nested();
  }
}
