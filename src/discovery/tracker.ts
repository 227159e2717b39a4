import type { PeerId } from '../content/peer-id.ts';
import type { Random } from '../lib/clock.ts';
import type { DigestKey } from './digest-key.ts';
import type { Provider } from './directory.ts';
import { type FoundAt, type KeyedAnnouncement, maxProvidersPerDigest } from './directory-protocol.ts';
import { RecordTable } from './record-table.ts';
import { SetSummary, type SummaryValue } from './set-summary.ts';

/**
 * What one node remembers as a tracker: digest -> providers in order of arrival, under one lease per announcing peer.
 * A lease ends when nobody renews it for `leaseMs`, when its peer has had no channel for `graceMs`, and at once when the peer leaves.
 * Full is refused, never grown. No I/O: the caller passes the time and carries the messages.
 */
export interface TrackerOptions {
  readonly leaseMs: number;
  readonly graceMs: number;
  readonly maxRecords: number;
  readonly maxRecordsPerPeer: number;
}

export interface TrackerAnswer {
  readonly found: readonly FoundAt[];
  /** Some of what was announced found no room. */
  readonly isFull: boolean;
}

/** A provider that peers already fetching the digest should hear of: from the tracker, or the provider was told of them and greets them. */
export type OnArrival = (key: DigestKey, provider: Provider, fetchers: Fetchers) => void;

export interface Fetchers {
  readonly untold: readonly PeerId[];
  readonly told: readonly PeerId[];
}

interface Lease {
  readonly peer: PeerId;
  readonly slot: number;
  readonly summary: SetSummary;
  expiresAtMs: number;
  /** Set while the peer has no channel to this tracker. */
  graceEndsAtMs: number | undefined;
}

/** About 80 KB of answer: a request for a thousand digests gets 16 providers of each, one for an image's layers gets 64. */
const maxProvidersPerAnswer = 16_000;

export class Tracker {
  readonly #options: TrackerOptions;
  readonly #random: Random;
  readonly #table = new RecordTable();
  readonly #leases = new Map<PeerId, Lease>();
  readonly #slots: (Lease | undefined)[] = [];
  readonly #freeSlots: number[] = [];

  constructor(random: Random, options: TrackerOptions) {
    this.#random = random;
    this.#options = options;
  }

  get records(): number {
    return this.#table.size;
  }

  get peers(): number {
    return this.#leases.size;
  }

  /** Records what a peer holds and answers one that fetches who else does. */
  announce(peer: PeerId, entries: readonly KeyedAnnouncement[], nowMs: number, onArrival: OnArrival): TrackerAnswer {
    const lease = this.#lease(peer, nowMs);
    const found: FoundAt[] = [];
    const limit = providerLimit(entries.length);
    let isFull = false;
    entries.forEach(({ key, holding }, index) => {
      // Who has all of it asks nobody.
      const providers = holding === 'fetching' ? this.#pick(key, peer, limit) : [];
      if (providers.length > 0) found.push({ index, providers });
      const isOver =
        this.#table.size >= this.#options.maxRecords || lease.summary.count >= this.#options.maxRecordsPerPeer;
      if (isOver && this.#table.find(key, lease.slot) === undefined) {
        isFull = true;
      } else {
        const { before, rank } = this.#table.put(key, lease.slot, holding);
        if (before !== undefined) lease.summary.remove(key, before);
        lease.summary.add(key, holding);
        if (before === undefined) this.#tellFetchers(key, { peer, holding, rank }, providers, onArrival);
      }
    });
    return { found, isFull };
  }

  find(peer: PeerId, keys: readonly DigestKey[]): readonly FoundAt[] {
    const found: FoundAt[] = [];
    const limit = providerLimit(keys.length);
    keys.forEach((key, index) => {
      const providers = this.#pick(key, peer, limit);
      if (providers.length > 0) found.push({ index, providers });
    });
    return found;
  }

  /** Tells whether the peer is still fetching the digest. */
  isFetching(peer: PeerId, key: DigestKey): boolean {
    const slot = this.#leases.get(peer)?.slot;
    return slot !== undefined && this.#table.find(key, slot) === 'fetching';
  }

  withdraw(peer: PeerId, keys: readonly DigestKey[]): void {
    const lease = this.#leases.get(peer);
    if (lease === undefined) return;
    for (const key of keys) {
      const before = this.#table.remove(key, lease.slot);
      if (before !== undefined) lease.summary.remove(key, before);
    }
  }

  /** Renews the lease; tells whether the peer's own view of its records is the one kept here. */
  sync(peer: PeerId, summary: SummaryValue, nowMs: number): boolean {
    if (summary.count === 0 && !this.#leases.has(peer)) return true;
    return this.#lease(peer, nowMs).summary.equals(summary);
  }

  /** Renews a lease that exists. */
  renew(peer: PeerId, nowMs: number): void {
    const lease = this.#leases.get(peer);
    if (lease !== undefined) lease.expiresAtMs = nowMs + this.#options.leaseMs;
  }

  /** Forgets a peer at once. */
  leave(peer: PeerId): void {
    const lease = this.#leases.get(peer);
    if (lease === undefined) return;
    this.#table.removePeer(lease.slot);
    this.#leases.delete(peer);
    this.#slots[lease.slot] = undefined;
    this.#freeSlots.push(lease.slot);
  }

  /** The peer has a channel (again). */
  attach(peer: PeerId): void {
    const lease = this.#leases.get(peer);
    if (lease !== undefined) lease.graceEndsAtMs = undefined;
  }

  /** The peer has lost its channel; its records live on for the grace. */
  detach(peer: PeerId, nowMs: number): void {
    const lease = this.#leases.get(peer);
    if (lease !== undefined) lease.graceEndsAtMs = nowMs + this.#options.graceMs;
  }

  /** Ends the leases that are over; returns whose. */
  expire(nowMs: number): PeerId[] {
    const over = [...this.#leases.values()]
      .filter((lease) => Math.min(lease.expiresAtMs, lease.graceEndsAtMs ?? Number.POSITIVE_INFINITY) <= nowMs)
      .map((lease) => lease.peer);
    for (const peer of over) this.leave(peer);
    return over;
  }

  #lease(peer: PeerId, nowMs: number): Lease {
    let lease = this.#leases.get(peer);
    if (lease === undefined) {
      const slot = this.#freeSlots.pop() ?? this.#slots.length;
      lease = { peer, slot, summary: new SetSummary(), expiresAtMs: 0, graceEndsAtMs: undefined };
      this.#leases.set(peer, lease);
      this.#slots[slot] = lease;
    }
    lease.expiresAtMs = nowMs + this.#options.leaseMs;
    return lease;
  }

  #tellFetchers(key: DigestKey, provider: Provider, met: readonly Provider[], onArrival: OnArrival): void {
    const picked = new Sample<PeerId>(maxProvidersPerDigest, this.#random);
    this.#table.visit(key, (slot, holding) => {
      const other = this.#slots[slot]?.peer;
      if (other !== undefined && other !== provider.peer && holding === 'fetching') picked.offer(other);
    });
    if (picked.items.length === 0) return;
    const told = new Set(met.map(({ peer }) => peer));
    onArrival(key, provider, {
      told: picked.items.filter((peer) => told.has(peer)),
      untold: picked.items.filter((peer) => !told.has(peer)),
    });
  }

  #pick(key: DigestKey, asker: PeerId, limit: number): readonly Provider[] {
    const picked = new Sample<Provider>(limit, this.#random);
    this.#table.visit(key, (slot, holding, rank) => {
      const peer = this.#slots[slot]?.peer;
      if (peer !== undefined && peer !== asker) picked.offer({ peer, holding, rank });
    });
    return picked.items.sort((left, right) => left.rank - right.rank);
  }
}

function providerLimit(digests: number): number {
  return Math.min(maxProvidersPerDigest, Math.floor(maxProvidersPerAnswer / Math.max(1, digests)));
}

/**
 * The first items of a walk and an even draw from the rest, half and half (reservoir, Vitter's algorithm R): those who came first
 * are told in any case, so that newcomers share neighbours; the others are drawn, so that they mix.
 */
class Sample<Item> {
  readonly items: Item[] = [];
  readonly #limit: number;
  readonly #fixed: number;
  readonly #random: Random;
  #offered = 0;

  constructor(limit: number, random: Random) {
    this.#limit = limit;
    this.#fixed = limit >> 1;
    this.#random = random;
  }

  offer(item: Item): void {
    this.#offered += 1;
    if (this.items.length < this.#limit) {
      this.items.push(item);
      return;
    }
    const place = Math.floor(this.#random.next() * (this.#offered - this.#fixed));
    if (place < this.#limit - this.#fixed) this.items[this.#fixed + place] = item;
  }
}
