import type { Clock } from './clock.ts';

interface Waiter {
  readonly size: number;
  grant(buffer: Buffer): void;
}

/**
 * Buffers lent out again and again, bounded in bytes all together; who finds none free waits in order.
 * What nobody has used for a while is given back to the system.
 */
export class BufferPool {
  readonly #maxBytes: number;
  readonly #clock: Clock;
  readonly #idleMs: number;
  readonly #free: Buffer[] = [];
  readonly #waiters: Waiter[] = [];
  #allocatedBytes = 0;
  #freeBytes = 0;
  #cancelTrim: (() => void) | undefined;

  constructor(clock: Clock, options: { readonly maxBytes: number; readonly idleMs: number }) {
    this.#clock = clock;
    this.#maxBytes = options.maxBytes;
    this.#idleMs = options.idleMs;
  }

  get usedBytes(): number {
    return this.#allocatedBytes - this.#freeBytes;
  }

  get waiting(): number {
    return this.#waiters.length;
  }

  /** Lends a buffer of exactly `size` bytes with old content; one larger than the whole pool is lent when nothing else is. */
  acquire(size: number, signal: AbortSignal): Promise<Buffer> {
    if (signal.aborted) return Promise.reject(signal.reason);
    const buffer = this.#waiters.length === 0 ? this.#take(size) : undefined;
    if (buffer !== undefined) return Promise.resolve(buffer);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        size,
        grant(granted) {
          signal.removeEventListener('abort', onAbort);
          resolve(granted);
        },
      };
      const onAbort = () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(signal.reason);
        this.#serve();
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiters.push(waiter);
    });
  }

  release(buffer: Buffer): void {
    this.#free.push(buffer);
    this.#freeBytes += buffer.length;
    this.#serve();
    if (this.#freeBytes === this.#allocatedBytes) this.#trimLater();
  }

  /** Gives up a lent buffer that something else may still read or write. */
  discard(buffer: Buffer): void {
    this.#allocatedBytes -= buffer.length;
    this.#serve();
  }

  /** Frees what is not lent out. */
  trim(): void {
    this.#cancelTrim?.();
    this.#cancelTrim = undefined;
    this.#allocatedBytes -= this.#freeBytes;
    this.#freeBytes = 0;
    this.#free.length = 0;
  }

  #take(size: number): Buffer | undefined {
    const at = this.#free.findLastIndex((buffer) => buffer.length === size);
    if (at >= 0) {
      const [buffer] = this.#free.splice(at, 1);
      this.#freeBytes -= size;
      return buffer;
    }
    while (this.#allocatedBytes + size > this.#maxBytes) {
      const spare = this.#free.shift();
      if (spare === undefined) break;
      this.#freeBytes -= spare.length;
      this.#allocatedBytes -= spare.length;
    }
    if (this.#allocatedBytes > 0 && this.#allocatedBytes + size > this.#maxBytes) return undefined;
    this.#allocatedBytes += size;
    return Buffer.allocUnsafeSlow(size);
  }

  #serve(): void {
    for (let next = this.#waiters[0]; next !== undefined; next = this.#waiters[0]) {
      const buffer = this.#take(next.size);
      if (buffer === undefined) return;
      this.#waiters.shift();
      next.grant(buffer);
    }
  }

  #trimLater(): void {
    this.#cancelTrim?.();
    this.#cancelTrim = this.#clock.schedule(this.#idleMs, () => {
      if (this.#freeBytes === this.#allocatedBytes) this.trim();
    });
  }
}

/** Rounds up to a power of two, so that what has many sizes shares few kinds of buffers. */
export function bufferSize(length: number): number {
  return 2 ** Math.max(16, Math.ceil(Math.log2(length)));
}
