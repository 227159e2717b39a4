import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';

/**
 * Peers caught giving wrong bytes, false signatures or no bytes at all, with what proves it. Bounded; the oldest ban makes room.
 * Whose word is worth nothing is cut off: it signed what is false. Who only sends badly is asked for nothing, and served on: a node
 * with broken memory or a broken disk gets its images all the same, and does not take the origin's link from the others. What it
 * signs is not believed while it is banned if bytes of it were wrong.
 */
export interface Ban {
  readonly reason: BanReason;
  /** What a person can check: digest, piece, both hashes. */
  readonly evidence: string;
  readonly sinceMs: number;
  readonly forMs: number;
}

/** The worst last. */
const reasons = ['stalls', 'broke the protocol', 'wrong bytes', 'false signature', 'signed wrong piece'] as const;

export type BanReason = (typeof reasons)[number];

function isAtLeast(reason: BanReason, least: BanReason): boolean {
  return reasons.indexOf(reason) >= reasons.indexOf(least);
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

  add(peer: PeerId, reason: BanReason, evidence: string, forMs = this.#banMs): void {
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
    return ban !== undefined && isAtLeast(ban.reason, 'false signature');
  }

  /** Whether nothing it signed is believed. */
  doubts(peer: PeerId): boolean {
    const ban = this.find(peer);
    return ban !== undefined && isAtLeast(ban.reason, 'wrong bytes');
  }

  /** Whether it is banned for this or for worse. */
  covers(peer: PeerId, reason: BanReason): boolean {
    const ban = this.find(peer);
    return ban !== undefined && isAtLeast(ban.reason, reason);
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
