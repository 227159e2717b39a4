import type { Clock } from './clock.ts';

export interface TokenBucketOptions {
  /** Undefined or 0 = unlimited. */
  readonly rateBytesPerSecond: number | undefined;
  /** What may pass at once after a pause; absent = what the rate gives in 100 ms, too short to be seen on a link. */
  readonly burstBytes?: number;
}

// With less, the cost of each step would be more than that of its bytes.
const minStepBytes = 4 * 1024;

interface Waiter {
  readonly bytes: number;
  readonly grant: () => void;
}

/**
 * Holds a byte rate. Takers are served in order; a take larger than the burst passes and is paid for by those behind it, so any
 * size works and the rate holds on average.
 */
export class TokenBucket {
  readonly #clock: Clock;
  #waiters: Waiter[] = [];
  #rate: number;
  #burst: number;
  #tokens: number;
  #filledAtMs: number;
  #cancelTimer: (() => void) | undefined;

  constructor(clock: Clock, options: TokenBucketOptions) {
    this.#clock = clock;
    this.#rate = options.rateBytesPerSecond ?? 0;
    this.#burst = options.burstBytes ?? this.#rate / 10;
    this.#tokens = this.#burst;
    this.#filledAtMs = clock.nowMs();
  }

  get isUnlimited(): boolean {
    return this.#rate === 0;
  }

  get waiting(): number {
    return this.#waiters.length;
  }

  /** How much to take at once where bytes are to keep trickling, whoever else takes: what the rate gives in 100 ms. */
  get stepBytes(): number {
    return this.isUnlimited ? Number.POSITIVE_INFINITY : Math.max(minStepBytes, Math.floor(this.#rate / 10));
  }

  /** What the rate gives in so long a time. */
  bytesIn(spanMs: number): number {
    return this.isUnlimited ? Number.POSITIVE_INFINITY : (this.#rate * spanMs) / 1000;
  }

  /** Whether a take would pass at once. */
  get isOpen(): boolean {
    if (this.isUnlimited) return true;
    this.#fill();
    return this.#waiters.length === 0 && this.#tokens > 0;
  }

  /** Takes out of turn, and those behind pay for it; less than nothing gives back what was taken and not used. */
  charge(bytes: number): void {
    if (this.isUnlimited) return;
    this.#fill();
    this.#tokens -= bytes;
    this.#wake();
  }

  /** Waits for the bytes' turn; rejects with the signal's reason, giving the turn to the next. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.isUnlimited) return;
    this.#fill();
    if (this.#waiters.length === 0 && this.#tokens > 0) {
      this.#tokens -= bytes;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        bytes,
        grant: () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      const onAbort = () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        this.#wake();
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiters.push(waiter);
      this.#wake();
    });
  }

  #fill(): void {
    const nowMs = this.#clock.nowMs();
    const earned = ((nowMs - this.#filledAtMs) * this.#rate) / 1000;
    this.#tokens = Math.min(this.#burst, this.#tokens + earned);
    this.#filledAtMs = nowMs;
  }

  /** Serves whoever can be served and sets the timer for the next; no timer is left without a waiter. */
  #wake(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#fill();
    while (this.#waiters.length > 0 && this.#tokens > 0) {
      const waiter = this.#waiters.shift();
      if (waiter === undefined) break;
      this.#tokens -= waiter.bytes;
      waiter.grant();
    }
    if (this.#waiters.length === 0) return;
    // One millisecond more than the debt, as a timer may fire early by a fraction and would find the bucket still empty.
    const waitMs = Math.ceil((-this.#tokens * 1000) / this.#rate) + 1;
    this.#cancelTimer = this.#clock.schedule(waitMs, () => this.#wake());
  }
}
