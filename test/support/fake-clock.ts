import type { Clock } from '../../src/lib/clock.ts';

interface Timer {
  readonly dueMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/**
 * Time that moves only when told. Callbacks run in the order of their due time, then in the order they were scheduled, each with
 * `nowMs` at its own due time; what a callback schedules within the advanced span runs in the same `advance`.
 */
export class FakeClock implements Clock {
  readonly #timers = new Set<Timer>();
  readonly #wallStartMs: number;
  #nowMs = 0;
  #scheduled = 0;

  constructor(wallStartMs = Date.UTC(2030, 0, 1)) {
    this.#wallStartMs = wallStartMs;
  }

  /** Callbacks not yet run nor cancelled. */
  get pending(): number {
    return this.#timers.size;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallStartMs + this.#nowMs;
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const timer = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#scheduled++, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Moves time forward and runs what is due; promises those callbacks resolve continue only after the caller's next await. */
  advance(spanMs: number): void {
    const untilMs = this.#nowMs + spanMs;
    for (let next = this.#nextDue(untilMs); next !== undefined; next = this.#nextDue(untilMs)) {
      this.#timers.delete(next);
      this.#nowMs = next.dueMs;
      next.callback();
    }
    this.#nowMs = untilMs;
  }

  /** Like `advance`, but lets promise continuations run between callbacks, so that chains of waits advance within one span. */
  async advanceAsync(spanMs: number): Promise<void> {
    const untilMs = this.#nowMs + spanMs;
    await settle();
    for (let next = this.#nextDue(untilMs); next !== undefined; next = this.#nextDue(untilMs)) {
      this.#timers.delete(next);
      this.#nowMs = next.dueMs;
      next.callback();
      await settle();
    }
    this.#nowMs = untilMs;
  }

  #nextDue(untilMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs > untilMs) continue;
      if (next === undefined || timer.dueMs < next.dueMs || (timer.dueMs === next.dueMs && timer.order < next.order)) {
        next = timer;
      }
    }
    return next;
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
