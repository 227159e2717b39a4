import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';
import { ExpiringCache } from '../lib/expiring-cache.ts';

// A fleet of a thousand gone bad at once; identities beyond that are made up, and the oldest ban makes room.
const maxBanned = 1024;

/** Who is refused, each for its time. */
export class BannedPeers {
  readonly #banned: ExpiringCache<PeerId, true>;

  constructor(clock: Clock) {
    this.#banned = new ExpiringCache(clock, maxBanned);
  }

  add(peer: PeerId, forMs: number): void {
    this.#banned.put(peer, true, forMs);
  }

  has(peer: PeerId): boolean {
    return this.#banned.find(peer) === true;
  }
}
