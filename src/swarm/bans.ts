import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';

/** Peers caught giving wrong bytes or false signatures, with what proves it. Bounded; the oldest ban makes room. */
export interface Ban {
  readonly reason: 'wrong bytes' | 'false signature' | 'signed wrong piece' | 'broke the protocol' | 'stalls';
  /** What a person can check: digest, piece, both hashes. */
  readonly evidence: string;
  readonly sinceMs: number;
  readonly forMs: number;
}

const maxBans = 1024;

export class BanList {
  readonly #clock: Clock;
  readonly #banMs: number;
  readonly #bans = new Map<PeerId, Ban>();

  constructor(clock: Clock, options: { banMs: number }) {
    this.#clock = clock;
    this.#banMs = options.banMs;
  }

  add(peer: PeerId, reason: Ban['reason'], evidence: string, forMs = this.#banMs): void {
    this.#bans.delete(peer);
    this.#bans.set(peer, { reason, evidence, sinceMs: this.#clock.wallMs(), forMs });
    for (const oldest of this.#bans.keys()) {
      if (this.#bans.size <= maxBans) break;
      this.#bans.delete(oldest);
    }
  }

  find(peer: PeerId): Ban | undefined {
    const ban = this.#bans.get(peer);
    if (ban === undefined || this.#clock.wallMs() - ban.sinceMs < ban.forMs) return ban;
    this.#bans.delete(peer);
    return undefined;
  }

  has(peer: PeerId): boolean {
    return this.find(peer) !== undefined;
  }

  list(): ReadonlyMap<PeerId, Ban> {
    for (const peer of [...this.#bans.keys()]) this.find(peer);
    return this.#bans;
  }
}
