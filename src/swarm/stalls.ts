import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';
import { ExpiringCache } from '../lib/expiring-cache.ts';

/** A request in which no byte came. */
export interface SilentRequest {
  readonly peer: PeerId;
  readonly startedMs: number;
  /** When the answer began as if the pieces followed; undefined = it did not. */
  readonly promisedMs: number | undefined;
}

/**
 * Tells who lets requests stand still on purpose from who is slow, frozen or gone, by how long it was silent in several requests in
 * a row. A frozen or lost peer has no second one: whom a request stood still at is asked again only once it has answered a greeting,
 * and an answer that begins is a sign of life by itself. Requests that overlap are one, and one byte of a piece clears all.
 */
export class Stalls {
  readonly #clock: Clock;
  readonly #rounds: ExpiringCache<PeerId, { count: number; silentMs: number; sinceMs: number; lastMs: number }>;

  readonly #bannedAfterMs: number;

  constructor(clock: Clock, options: { readonly peerStallMs: number }) {
    this.#clock = clock;
    this.#bannedAfterMs = stallsToBan * options.peerStallMs;
    this.#rounds = new ExpiringCache(clock, maxPeers);
  }

  moving(peer: PeerId): void {
    this.#rounds.delete(peer);
  }

  /** Returns what is held against the peer once that is enough for a ban. */
  silent({ peer, startedMs, promisedMs }: SilentRequest): string | undefined {
    const nowMs = this.#clock.nowMs();
    const known = this.#rounds.find(peer) ?? { count: 0, silentMs: 0, sinceMs: startedMs, lastMs: startedMs };
    if (startedMs < known.lastMs) return undefined;
    const silentMs = promisedMs === undefined ? (nowMs - startedMs) * unpromisedShare : nowMs - promisedMs;
    const rounds = { ...known, count: known.count + 1, silentMs: known.silentMs + silentMs, lastMs: nowMs };
    this.#rounds.delete(peer);
    if (rounds.count >= minRequests && rounds.silentMs >= this.#bannedAfterMs) {
      const seconds = Math.round((nowMs - rounds.sinceMs) / 1_000);
      return `${rounds.count} requests in a row within ${seconds} s brought no byte, though it answers`;
    }
    this.#rounds.put(peer, rounds, forgottenAfterMs);
    return undefined;
  }
}

// A request that stands still is given up after two of them, and the next one after a third.
const stallsToBan = 3;
const minRequests = 2;
// A request that is not even answered, as at a peer whose upload slots are all taken by slow links: six in a row then.
const unpromisedShare = 1 / 4;
// As long as a ban for it lasts: who stalls less often than that costs next to nothing.
const forgottenAfterMs = 600_000;
// A fleet of a thousand that all stand still at once.
const maxPeers = 1024;

/** Short: a peer with a broken disk or network is welcome again once it is mended, without anybody's doing. */
export const stallBanMs = 600_000;
