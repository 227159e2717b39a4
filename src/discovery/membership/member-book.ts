import type { PeerId } from '../../content/peer-id.ts';
import type { Random } from '../../lib/clock.ts';
import { type MemberAddresses, maxAddressesPerMember } from './members-protocol.ts';

export interface KnownMember {
  readonly peer: PeerId;
  readonly addresses: readonly string[];
  readonly lastSeenMs: number;
}

/** Members met or told of, with where they listen; bounded, those unseen for longest go first. */
export class MemberBook {
  readonly #maxMembers: number;
  /** Insertion order is the order of last sight. */
  readonly #members = new Map<PeerId, KnownMember>();

  constructor(maxMembers: number) {
    this.#maxMembers = maxMembers;
  }

  all(): readonly KnownMember[] {
    return [...this.#members.values()];
  }

  find(peer: PeerId): KnownMember | undefined {
    return this.#members.get(peer);
  }

  /** Notes that a member was there just now; with its own word on addresses, that replaces what was known. */
  saw(peer: PeerId, wallMs: number, addresses?: readonly string[]): void {
    const known = this.#members.get(peer);
    this.#members.delete(peer);
    const kept = addresses ?? known?.addresses ?? [];
    this.#members.set(peer, { peer, addresses: kept.slice(0, maxAddressesPerMember), lastSeenMs: wallMs });
    const oldest = this.#members.keys().next().value;
    if (this.#members.size > this.#maxMembers && oldest !== undefined) this.#members.delete(oldest);
  }

  /** Takes out members that are not kept and were last seen before. */
  forget(beforeWallMs: number, isKept: (peer: PeerId) => boolean): void {
    for (const { peer, lastSeenMs } of this.#members.values()) {
      if (lastSeenMs < beforeWallMs && !isKept(peer)) this.#members.delete(peer);
    }
  }

  /** Draws up to `count` of the given peers whose addresses are known. */
  sample(peers: readonly PeerId[], count: number, random: Random): MemberAddresses[] {
    const known = peers.flatMap((peer) => {
      const member = this.#members.get(peer);
      return member !== undefined && member.addresses.length > 0 ? member : [];
    });
    // Partial Fisher-Yates: every subset is as likely.
    for (let at = 0; at < Math.min(count, known.length); at += 1) {
      const other = at + Math.floor(random.next() * (known.length - at));
      const [left, right] = [known[at], known[other]];
      if (left !== undefined && right !== undefined) [known[at], known[other]] = [right, left];
    }
    return known.slice(0, count);
  }
}
