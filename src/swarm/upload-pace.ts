import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';
import type { TokenBucket } from '../lib/token-bucket.ts';

/**
 * Holds the rate of what this node sends, so that it looks like a slow link and not like a node that stands still: whose run is let in
 * gets bytes at once and without long pauses, and all others are told to come back, when it will be their turn. A run that waited in
 * silence would be held against this node, and one that drips beside many others would be given up half-way.
 */
export class UploadPace {
  readonly #bucket: TokenBucket;
  readonly #clock: Clock;
  /** Who was told to come back, first come first. */
  readonly #line = new Map<PeerId, Place>();
  readonly #running = new Set<PacedRun>();

  constructor(deps: { readonly bucket: TokenBucket; readonly clock: Clock }) {
    this.#bucket = deps.bucket;
    this.#clock = deps.clock;
  }

  /** Lets a run in, or tells in how many milliseconds to ask again. */
  admit(peer: PeerId, bytes: number): PacedRun | number {
    const nowMs = this.#clock.nowMs();
    const waitMs = this.#bucket.isUnlimited ? 0 : this.#waitMs(peer, nowMs);
    if (waitMs <= 0) {
      this.#line.delete(peer);
      const run = new PacedRun(this.#bucket, this.#clock, bytes, () => this.#running.delete(run));
      this.#running.add(run);
      return run;
    }
    const retryAfterMs = Math.min(waitMs / latestFactor, longestRetryMs);
    this.#line.set(peer, { bytes, untilMs: nowMs + retryAfterMs * latestFactor + lateMs });
    return retryAfterMs;
  }

  /** Until all that comes before the peer is paid for but for a moment. */
  #waitMs(peer: PeerId, nowMs: number): number {
    let bytes = 0;
    for (const run of this.#running) bytes += run.wantedBytes(nowMs);
    for (const [other, place] of this.#line) {
      if (other === peer) break;
      if (place.untilMs < nowMs) this.#line.delete(other);
      else bytes += place.bytes;
    }
    return bytes / this.#bucket.bytesIn(1) - longestStartMs;
  }
}

interface Place {
  /** Of the run it asked for. */
  readonly bytes: number;
  /** When it would have come back if it still wanted anything. */
  readonly untilMs: number;
}

// Between two runs nothing stands idle if the next begins so long before the one before it ends, and nobody minds so short a silence.
const longestStartMs = 1_000;
// A peer comes back between half and one and a half times what it was told (request-ends.ts).
const latestFactor = 1.5;
const lateMs = 500;
// The wire allows no more.
const longestRetryMs = 60_000;

/** One run that was let in; `end` is called once. */
export class PacedRun {
  /** What to send at once. */
  readonly stepBytes: number;
  readonly #bucket: TokenBucket;
  readonly #clock: Clock;
  readonly #onEnd: () => void;
  /** Not paid for yet. */
  #owedBytes: number;
  /** Paid for and not passed on yet. */
  #readyBytes = 0;
  #isWaiting = true;
  #paidMs = 0;

  constructor(bucket: TokenBucket, clock: Clock, bytes: number, onEnd: () => void) {
    this.stepBytes = bucket.stepBytes;
    this.#bucket = bucket;
    this.#clock = clock;
    this.#owedBytes = bytes;
    this.#onEnd = onEnd;
  }

  /** What it will take of the rate as fast as it can; nothing while its peer takes so slowly that others can be sent to beside it. */
  wantedBytes(nowMs: number): number {
    return this.#isWaiting || nowMs - this.#paidMs < idleAfterMs ? this.#owedBytes : 0;
  }

  /** Waits until the first bytes can follow an answer at once. */
  async begin(signal: AbortSignal): Promise<void> {
    const bytes = Math.min(this.stepBytes, this.#owedBytes);
    await this.#pay(bytes, signal);
    this.#readyBytes = bytes;
  }

  /** Waits until so many bytes may be sent. */
  async pass(bytes: number, signal: AbortSignal): Promise<void> {
    const readyBytes = Math.min(bytes, this.#readyBytes);
    this.#readyBytes -= readyBytes;
    if (bytes > readyBytes) await this.#pay(bytes - readyBytes, signal);
  }

  /** Sent whole or not, it holds up nobody any more. */
  end(): void {
    this.#onEnd();
    this.#bucket.charge(-this.#readyBytes);
    this.#readyBytes = 0;
  }

  async #pay(bytes: number, signal: AbortSignal): Promise<void> {
    this.#isWaiting = true;
    await this.#bucket.take(bytes, signal);
    this.#isWaiting = false;
    this.#paidMs = this.#clock.nowMs();
    this.#owedBytes = Math.max(0, this.#owedBytes - bytes);
  }
}

// Longer than it takes to read a step and to write it to a link that is faster than the rate.
const idleAfterMs = 500;
