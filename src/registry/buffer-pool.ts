export interface BufferPoolOptions {
  readonly largeBytes: number;
  readonly smallBytes: number;
  /** Large buffers in use at once. */
  readonly maxLarge: number;
}

/**
 * Buffers for bodies on their way out. A few large ones, because a body goes fastest in large steps; when those are all out, or
 * for a client that is slow, small ones, so that many clients cost little memory and nobody waits for a buffer that a stalled
 * client holds. The number of small ones in use is bounded by the number of connections.
 */
export class BufferPool {
  readonly #options: BufferPoolOptions;
  readonly #free: Buffer[] = [];
  #largeOut = 0;

  constructor(options: BufferPoolOptions) {
    this.#options = options;
  }

  get largeOut(): number {
    return this.#largeOut;
  }

  /** Returns a buffer of at most the wanted size, or a large one of which only a part is wanted. */
  take(wantedBytes: number, isSlow = false): Buffer {
    const { largeBytes, smallBytes, maxLarge } = this.#options;
    if (isSlow || wantedBytes <= smallBytes || this.#largeOut >= maxLarge) {
      return Buffer.allocUnsafeSlow(Math.max(1, Math.min(wantedBytes, smallBytes)));
    }
    this.#largeOut += 1;
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(largeBytes);
  }

  /** Takes a buffer back that nothing reads or writes any more. */
  give(buffer: Buffer): void {
    if (this.#drop(buffer)) this.#free.push(buffer);
  }

  /** Forgets a buffer that a read or a write may still be using. */
  drop(buffer: Buffer): void {
    this.#drop(buffer);
  }

  #drop(buffer: Buffer): boolean {
    const isLarge = buffer.length === this.#options.largeBytes;
    if (isLarge) this.#largeOut -= 1;
    return isLarge;
  }
}
