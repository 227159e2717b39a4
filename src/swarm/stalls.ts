import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';
import { ExpiringCache } from '../lib/expiring-cache.ts';

/**
 * Tells who lets requests stand still on purpose from who is slow, frozen or gone. A peer whose request stood still is asked again
 * only once it has answered a greeting: so each round of silence is one of a peer that lives and talks. Requests that
 * overlap are one round, and one byte of a piece clears all. A frozen or lost peer answers no greeting and has no second round.
 */
export class Stalls {
  readonly #clock: Clock;
  readonly #rounds: ExpiringCache<PeerId, { count: number; weight: number; sinceMs: number; lastMs: number }>;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#rounds = new ExpiringCache(clock, maxPeers);
  }

  moving(peer: PeerId): void {
    this.#rounds.delete(peer);
  }

  /** A request ended in which no byte came. Returns what is held against the peer once that is enough for a ban. */
  silent(peer: PeerId, startedMs: number, wasPromised: boolean): string | undefined {
    const nowMs = this.#clock.nowMs();
    const weight = wasPromised ? promisedWeight : 1;
    const known = this.#rounds.find(peer) ?? { count: 0, weight: 0, sinceMs: startedMs, lastMs: startedMs };
    if (startedMs < known.lastMs) return undefined;
    const rounds = { ...known, count: known.count + 1, weight: known.weight + weight, lastMs: nowMs };
    this.#rounds.delete(peer);
    if (rounds.weight >= bannedAtWeight) {
      const seconds = Math.round((nowMs - rounds.sinceMs) / 1_000);
      return `${rounds.count} requests in a row within ${seconds} s brought no byte, each after it had answered a greeting`;
    }
    this.#rounds.put(peer, rounds, forgottenAfterMs);
    return undefined;
  }
}

// Two answers that begin and bring nothing, a stall of four seconds each; or six requests that are not even answered, as at a peer
// whose upload slots are all taken by slow links.
const bannedAtWeight = 6;
const promisedWeight = 3;
// As long as a ban for it lasts: who stalls less often than that costs next to nothing.
const forgottenAfterMs = 600_000;
// A fleet of a thousand that all stand still at once.
const maxPeers = 1024;

/** Short: a peer with a broken disk or network is welcome again once it is mended, without anybody's doing. */
export const stallBanMs = 600_000;
