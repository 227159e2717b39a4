import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';

// A fleet of a thousand gone bad at once; identities beyond that are made up, and the oldest ban makes room.
const maxBanned = 1024;

/** Who is refused, and until when. */
export class BannedPeers {
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #untilMs = new Map<PeerId, number>();

  constructor(clock: Pick<Clock, 'nowMs'>) {
    this.#clock = clock;
  }

  add(peer: PeerId, forMs: number): void {
    this.#untilMs.delete(peer);
    this.#untilMs.set(peer, this.#clock.nowMs() + forMs);
    for (const oldest of this.#untilMs.keys()) {
      if (this.#untilMs.size <= maxBanned) break;
      this.#untilMs.delete(oldest);
    }
  }

  has(peer: PeerId): boolean {
    const untilMs = this.#untilMs.get(peer);
    if (untilMs === undefined || this.#clock.nowMs() < untilMs) return untilMs !== undefined;
    this.#untilMs.delete(peer);
    return false;
  }
}
