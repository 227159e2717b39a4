import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';

/**
 * Peers caught giving wrong bytes, false signatures or no bytes at all, with what proves it. Bounded; the oldest ban makes room.
 * Whose word is worth nothing is cut off: it signed what is false. Who only sends badly is asked for nothing, and served on: a node
 * with broken memory or a broken disk gets its images all the same, and does not take the origin's link from the others.
 */
export interface Ban {
  readonly reason: 'wrong bytes' | 'false signature' | 'signed wrong piece' | 'broke the protocol' | 'stalls';
  /** What a person can check: digest, piece, both hashes. */
  readonly evidence: string;
  readonly sinceMs: number;
  readonly forMs: number;
}

const servedOn: ReadonlySet<Ban['reason']> = new Set(['wrong bytes', 'broke the protocol', 'stalls']);

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

  /** Whether the peer is cut off. */
  has(peer: PeerId): boolean {
    const ban = this.find(peer);
    return ban !== undefined && !servedOn.has(ban.reason);
  }

  /** Whether the peer is only not asked for anything. */
  shuns(peer: PeerId): boolean {
    return this.find(peer) !== undefined && !this.has(peer);
  }

  list(): ReadonlyMap<PeerId, Ban> {
    for (const peer of [...this.#bans.keys()]) this.find(peer);
    return this.#bans;
  }
}
