import type { Clock } from '../lib/clock.ts';

export interface BreakerOptions {
  /** Failures in a row that open it. */
  readonly failures: number;
  readonly pauseMs: number;
}

export type BreakerState = 'closed' | 'open' | 'half-open' | 'limited';

export type Admission =
  | { readonly isAdmitted: true }
  | { readonly isAdmitted: false; readonly reason: 'open' | 'limited'; readonly retryAfterMs: number };

// A long outage is probed at least this often relative to the first pause (10 s becomes 80 s at the default).
const maxPauseFactor = 8;

/**
 * Keeps a failing origin from being asked. Every admitted request ends in exactly one of succeed, fail, limit or abandon.
 *
 * - closed: all pass. `failures` failures in a row -> open.
 * - open: none pass. After the pause the next request passes as a probe -> half-open.
 * - half-open: one probe runs, none else pass. succeed -> closed; fail -> open with a doubled pause; abandon -> the next is the probe.
 * - limited (the origin said 429): none pass until the time it named; then as before. It is not a failure.
 */
export class Breaker {
  readonly #clock: Clock;
  readonly #options: BreakerOptions;
  #failuresInRow = 0;
  #openUntilMs: number | undefined;
  #pauseMs: number;
  #isProbing = false;
  #limitedUntilMs = 0;

  constructor(clock: Clock, options: BreakerOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#pauseMs = options.pauseMs;
  }

  get state(): BreakerState {
    const nowMs = this.#clock.nowMs();
    if (this.#openUntilMs !== undefined) {
      return this.#isProbing || nowMs >= this.#openUntilMs ? 'half-open' : 'open';
    }
    return nowMs < this.#limitedUntilMs ? 'limited' : 'closed';
  }

  /** How long until a request may pass; 0 = now. */
  get retryAfterMs(): number {
    return Math.max(0, Math.max(this.#openUntilMs ?? 0, this.#limitedUntilMs) - this.#clock.nowMs());
  }

  admit(): Admission {
    const { retryAfterMs } = this;
    if (this.#openUntilMs !== undefined) {
      if (retryAfterMs > 0) return { isAdmitted: false, reason: 'open', retryAfterMs };
      // The probe's end is not known; the first pause is the time after which asking again makes sense.
      if (this.#isProbing) return { isAdmitted: false, reason: 'open', retryAfterMs: this.#options.pauseMs };
      this.#isProbing = true;
      return { isAdmitted: true };
    }
    return retryAfterMs > 0 ? { isAdmitted: false, reason: 'limited', retryAfterMs } : { isAdmitted: true };
  }

  /** The origin answered, whatever it said. */
  succeed(): void {
    this.#failuresInRow = 0;
    this.#openUntilMs = undefined;
    this.#isProbing = false;
    this.#pauseMs = this.#options.pauseMs;
  }

  /** The origin did not answer, or with a 5xx. */
  fail(): void {
    this.#failuresInRow += 1;
    if (this.#isProbing) this.#pauseMs = Math.min(this.#pauseMs * 2, this.#options.pauseMs * maxPauseFactor);
    // A request admitted before it opened says nothing about the pause that already runs.
    else if (this.#openUntilMs !== undefined || this.#failuresInRow < this.#options.failures) return;
    this.#isProbing = false;
    this.#openUntilMs = this.#clock.nowMs() + this.#pauseMs;
  }

  /** The origin said 429; it is alive. */
  limit(forMs: number): void {
    this.succeed();
    this.#limitedUntilMs = Math.max(this.#limitedUntilMs, this.#clock.nowMs() + forMs);
  }

  /** The request ended before it could tell anything. */
  abandon(): void {
    this.#isProbing = false;
  }
}
