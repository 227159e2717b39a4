import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import type { DigestKey } from '../digest-key.ts';
import type { Provider } from '../directory.ts';
import type { FoundAt } from '../directory-protocol.ts';

export interface GatheringOptions {
  /** Waited for in any case. */
  readonly answerTimeoutMs: number;
  /** How long the rest is waited for once each digest has an answer from one of its trackers. */
  readonly hedgeMs: number;
}

/** Part of a request to one tracker: the digests, and for each how close the tracker is to it (0 = closest). */
export interface Batch {
  readonly keys: readonly DigestKey[];
  readonly orders: readonly number[];
}

/** Collects the answers of many trackers to one call, as long as waiting is worth it; `onFound` hears of each as it comes, also later. */
export class Gathering {
  readonly #self: PeerId;
  readonly #onFound: (key: DigestKey, providers: readonly Provider[]) => void;
  readonly #unanswered: Set<DigestKey>;
  readonly #found = new Map<DigestKey, { readonly order: number; readonly providers: readonly Provider[] }[]>();
  readonly #progress = { waiting: 0, failed: 0, isOver: false };
  #wake: (() => void) | undefined;

  constructor(
    self: PeerId,
    keys: Iterable<DigestKey>,
    onFound: (key: DigestKey, providers: readonly Provider[]) => void,
  ) {
    this.#self = self;
    this.#unanswered = new Set(keys);
    this.#onFound = onFound;
  }

  /** Some tracker did not answer (in time). */
  get isPartial(): boolean {
    return this.#progress.failed > 0 || this.#progress.waiting > 0;
  }

  /** Collects nothing. */
  endNow(): void {
    this.#progress.isOver = true;
  }

  add(batch: Batch, answer: Promise<{ readonly found: readonly FoundAt[] }>): void {
    this.#progress.waiting += 1;
    const settle = () => {
      this.#progress.waiting -= 1;
      this.#wake?.();
    };
    answer.then(
      ({ found }) => {
        this.#take(batch, found);
        settle();
      },
      () => {
        this.#progress.failed += 1;
        settle();
      },
    );
  }

  /** Resolves to what is known when waiting ends; rejects only by the signal. */
  async finish(clock: Clock, options: GatheringOptions, signal: AbortSignal): Promise<Map<DigestKey, Provider[]>> {
    await this.#wait(clock, options, signal);
    this.#progress.isOver = true;
    const merged = new Map<DigestKey, Provider[]>();
    for (const [key, lists] of this.#found) merged.set(key, mergeProviders(lists, this.#self));
    this.#found.clear();
    return merged;
  }

  #take(batch: Batch, found: readonly FoundAt[]): void {
    for (const key of batch.keys) this.#unanswered.delete(key);
    for (const { index, providers } of found) {
      const key = batch.keys[index];
      if (key === undefined) continue;
      this.#onFound(key, providers);
      if (this.#progress.isOver) continue;
      const lists = this.#found.get(key) ?? [];
      lists.push({ order: batch.orders[index] ?? 0, providers });
      this.#found.set(key, lists);
    }
  }

  #wait(clock: Clock, options: GatheringOptions, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      let cancelHedge: (() => void) | undefined;
      const end = () => {
        cancelTimeout();
        cancelHedge?.();
        signal.removeEventListener('abort', onAbort);
        this.#wake = undefined;
      };
      const finish = () => {
        end();
        resolve();
      };
      const onAbort = () => {
        end();
        this.#progress.isOver = true;
        reject(signal.reason);
      };
      const cancelTimeout = clock.schedule(options.answerTimeoutMs, finish);
      signal.addEventListener('abort', onAbort, { once: true });
      this.#wake = () => {
        if (this.#progress.waiting === 0) finish();
        else if (this.#unanswered.size === 0) cancelHedge ??= clock.schedule(options.hedgeMs, finish);
      };
      if (signal.aborted) onAbort();
      else this.#wake();
    });
  }
}

/**
 * Joins the lists of several trackers. A provider's rank is the one given by the closest tracker that knows it, so that all who
 * reach that tracker order it alike.
 */
function mergeProviders(
  lists: readonly { readonly order: number; readonly providers: readonly Provider[] }[],
  self: PeerId,
): Provider[] {
  const merged = new Map<PeerId, Provider>();
  for (const { providers } of [...lists].sort((left, right) => left.order - right.order)) {
    for (const provider of providers) {
      const known = merged.get(provider.peer);
      if (provider.peer === self) continue;
      if (known === undefined) merged.set(provider.peer, provider);
      else if (provider.holding === 'complete') merged.set(provider.peer, { ...known, holding: 'complete' });
    }
  }
  return [...merged.values()].sort((left, right) => left.rank - right.rank || (left.peer < right.peer ? -1 : 1));
}
