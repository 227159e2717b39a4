import type { ScheduleOptions } from './options.ts';

/** Shorter pauses of the event loop matter to nothing that is waited for. */
export const excusedMs = 100;

// Half of a lag is forgotten after seven ticks without another.
const keptShare = 0.9;
// What a member says waits for its own event loop and for this one, and a turn takes a few such steps at the origin.
const steps = 4;

/**
 * How late this node's event loop runs, and how much longer it waits for others because of it. A node that is starved of CPU hears
 * late of what they do, and as a rule they share its fate: many nodes on one host, or a start that all do together. Without it 32
 * nodes on two cores took over each other's turns, and the image left the origin up to 2.6 times.
 */
export class Lag {
  readonly #options: ScheduleOptions;
  #lagMs = 0;

  constructor(options: ScheduleOptions) {
    this.#options = options;
  }

  /** How much longer than usual this node waits for others. */
  get moreMs(): number {
    return this.#lagMs < 1 ? 0 : steps * this.#lagMs;
  }

  /** Takes in how late a tick came; returns the options as they are to be used until the next. */
  stretch(lateMs: number): ScheduleOptions {
    this.#lagMs = Math.max(0, lateMs, this.#lagMs * keptShare);
    const { moreMs } = this;
    if (moreMs === 0) return this.#options;
    const { takeoverMs, originStallMs, peerStallMs } = this.#options;
    return {
      ...this.#options,
      takeoverMs: takeoverMs + moreMs,
      originStallMs: originStallMs + moreMs,
      peerStallMs: peerStallMs + moreMs,
    };
  }

  /** Nobody is waited for: how late the event loop ran says nothing about a pull that begins later. */
  forget(): void {
    this.#lagMs = 0;
  }
}
