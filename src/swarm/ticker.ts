import type { Clock } from '../lib/clock.ts';

/**
 * Calls at even intervals for as long as there is something to look after; a node that fetches nothing is not woken by it.
 * Started -> a tick after each interval -> ends with the tick that returns false, or with `stop`; may be started again.
 */
export class Ticker {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #onTick: (lateMs: number, tick: number) => boolean;
  #ticks = 0;
  #cancel: (() => void) | undefined;

  /** `onTick` hears how late the tick comes, which shows how busy the event loop is, and which one it is, from 1 on. */
  constructor(clock: Clock, intervalMs: number, onTick: (lateMs: number, tick: number) => boolean) {
    this.#clock = clock;
    this.#intervalMs = intervalMs;
    this.#onTick = onTick;
  }

  /** Does nothing while it runs. */
  start(): void {
    if (this.#cancel === undefined) this.#wait();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #wait(): void {
    const dueMs = this.#clock.nowMs() + this.#intervalMs;
    this.#cancel = this.#clock.schedule(this.#intervalMs, () => {
      this.#cancel = undefined;
      this.#ticks += 1;
      if (this.#onTick(this.#clock.nowMs() - dueMs, this.#ticks)) this.start();
    });
  }
}
