import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import type { DigestKey } from '../digest-key.ts';
import type { Provider } from '../directory.ts';
import type { FoundFor } from '../directory-protocol.ts';

export interface PushOutboxOptions {
  /** How long arrivals are gathered before they are pushed. */
  readonly delayMs: number;
  /** Providers waiting for one peer; more are dropped, they are hints. */
  readonly maxPerPeer: number;
}

/** Arrivals that peers are to hear of, gathered from the first until the delay is over and then pushed together. */
export class PushOutbox {
  readonly #clock: Clock;
  readonly #options: PushOutboxOptions;
  readonly #push: (target: PeerId, found: readonly FoundFor[]) => void;
  readonly #boxes = new Map<PeerId, { count: number; readonly found: Map<DigestKey, Provider[]> }>();
  #cancelFlush: (() => void) | undefined;

  constructor(clock: Clock, options: PushOutboxOptions, push: (target: PeerId, found: readonly FoundFor[]) => void) {
    this.#clock = clock;
    this.#options = options;
    this.#push = push;
  }

  add(target: PeerId, key: DigestKey, provider: Provider): void {
    const box = this.#boxes.get(target) ?? { count: 0, found: new Map<DigestKey, Provider[]>() };
    if (box.count >= this.#options.maxPerPeer) return;
    box.count += 1;
    const providers = box.found.get(key) ?? [];
    providers.push(provider);
    box.found.set(key, providers);
    this.#boxes.set(target, box);
    this.#cancelFlush ??= this.#clock.schedule(this.#options.delayMs, () => this.#flush());
  }

  /** Nothing reaches this peer any more. */
  forget(target: PeerId): void {
    this.#boxes.delete(target);
  }

  stop(): void {
    this.#cancelFlush?.();
    this.#boxes.clear();
  }

  #flush(): void {
    this.#cancelFlush = undefined;
    const boxes = [...this.#boxes];
    this.#boxes.clear();
    for (const [target, { found }] of boxes) {
      this.#push(
        target,
        [...found].map(([key, providers]) => ({ key, providers })),
      );
    }
  }
}
