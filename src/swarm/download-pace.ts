import { type PiecePlan, runRange } from '../content/piece-plan.ts';
import type { TokenBucket } from '../lib/token-bucket.ts';

/**
 * Holds the node's own rate for what comes from peers: it is paid for before it is asked for, and nothing is asked for while there is a
 * debt. Were the bytes paid for when they are here, a peer that sends would look like one that stands still, and the link would have
 * carried them all the same. What is asked for next is decided when it may be, so that it is what is needed most then.
 */
export class DownloadPace {
  readonly #bucket: TokenBucket;
  readonly #signal: AbortSignal;
  readonly #onTurn: () => void;
  #isWaiting = false;
  #hasTurn = false;

  /** `onTurn` is told when one may ask who was not admitted; `signal` ends the wait for it. */
  constructor(bucket: TokenBucket, signal: AbortSignal, onTurn: () => void) {
    this.#bucket = bucket;
    this.#signal = signal;
    this.#onTurn = onTurn;
  }

  /** Whether a request may be sent now; `charge` comes before the next is asked about. */
  admits(): boolean {
    if (this.#bucket.isOpen || this.#hasTurn) {
      this.#hasTurn = false;
      return true;
    }
    this.#waitForTurn();
    return false;
  }

  /** How many pieces of a run to ask for: what the rate gives in a second, so that one request does not hold up all others for long. */
  countFor(plan: PiecePlan, first: number, count: number): number {
    const mostBytes = this.#bucket.bytesIn(longestDebtMs);
    let fitting = count;
    while (fitting > 1 && bytesOf(plan, first, fitting) > mostBytes) fitting -= 1;
    return fitting;
  }

  /** Pays for what a request will bring; the returned function says how much it brought in the end. */
  charge(plan: PiecePlan, first: number, count: number): (receivedBytes: number) => void {
    const bytes = bytesOf(plan, first, count);
    this.#bucket.charge(bytes);
    return (receivedBytes) => this.#bucket.charge(Math.min(0, receivedBytes - bytes));
  }

  /** In line with the turns at the origin, which take from the same bucket. */
  #waitForTurn(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#bucket.take(0, this.#signal).then(
      () => {
        this.#isWaiting = false;
        this.#hasTurn = true;
        this.#onTurn();
      },
      // The node stops.
      () => {},
    );
  }
}

const longestDebtMs = 1_000;

function bytesOf(plan: PiecePlan, first: number, count: number): number {
  const { start, end } = runRange(plan, first, count);
  return end - start;
}
