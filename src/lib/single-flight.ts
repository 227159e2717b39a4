/**
 * Runs one call per key at a time and gives its result to everyone who asks meanwhile.
 * The call is aborted only when the last waiter has left.
 */
export class SingleFlight<Key, Value> {
  readonly #flights = new Map<Key, { waiters: number; controller: AbortController; result: Promise<Value> }>();

  get size(): number {
    return this.#flights.size;
  }

  async run(key: Key, signal: AbortSignal, call: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    signal.throwIfAborted();
    let flight = this.#flights.get(key);
    if (flight === undefined) {
      const controller = new AbortController();
      const created = { waiters: 0, controller, result: call(controller.signal) };
      const forget = () => {
        if (this.#flights.get(key) === created) this.#flights.delete(key);
      };
      created.result.then(forget, forget);
      this.#flights.set(key, created);
      flight = created;
    }
    const joined = flight;
    joined.waiters += 1;
    const left = Promise.withResolvers<never>();
    const onAbort = () => left.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([joined.result, left.promise]);
    } finally {
      signal.removeEventListener('abort', onAbort);
      joined.waiters -= 1;
      // A flight that has ended is no longer in the map; its signal stays quiet, for what it returned may still hang on it.
      if (joined.waiters === 0 && this.#flights.get(key) === joined) {
        this.#flights.delete(key);
        joined.controller.abort(new DOMException('the last waiter left', 'AbortError'));
      }
    }
  }
}
