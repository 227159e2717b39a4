import type { PeerId } from '../../content/peer-id.ts';
import type { DigestKey } from '../digest-key.ts';
import type { Holding, Provider } from '../directory.ts';
import { maxDigestsPerMessage } from '../directory-protocol.ts';
import type { Batch } from './gathering.ts';
import type { TrackerPool } from './tracker-pool.ts';

interface Announced {
  holding: Holding;
  trackers: readonly PeerId[];
  /** Providers the listeners know of already; kept while fetching only. */
  told: Set<PeerId> | undefined;
}

/** A digest bound for one tracker; `order` is how close that tracker is among the digest's. */
export interface Assignment {
  readonly key: DigestKey;
  readonly holding: Holding;
  readonly order: number;
}

/** What this node keeps announced, and at which trackers. Shares of the pool are kept in step; messages are the caller's. */
export class AnnouncedSet {
  readonly #pool: TrackerPool;
  readonly #maxToldPerDigest: number;
  readonly #announced = new Map<DigestKey, Announced>();

  constructor(pool: TrackerPool, maxToldPerDigest: number) {
    this.#pool = pool;
    this.#maxToldPerDigest = maxToldPerDigest;
  }

  get size(): number {
    return this.#announced.size;
  }

  keys(): Iterable<DigestKey> {
    return this.#announced.keys();
  }

  holdingOf(key: DigestKey): Holding | undefined {
    return this.#announced.get(key)?.holding;
  }

  trackersOf(key: DigestKey): readonly PeerId[] {
    return this.#announced.get(key)?.trackers ?? [];
  }

  /** Sets what is held and who tracks it; returns the trackers that it came to and those it left. */
  place(
    key: DigestKey,
    holding: Holding,
    trackers: readonly PeerId[],
  ): { readonly joined: readonly PeerId[]; readonly left: readonly PeerId[] } {
    const known = this.#announced.get(key);
    if (known === undefined) {
      this.#announced.set(key, { holding, trackers, told: undefined });
      for (const peer of trackers) this.#pool.assign(peer, key, holding);
      return { joined: trackers, left: [] };
    }
    const left = known.trackers.filter((peer) => !trackers.includes(peer));
    const joined = trackers.filter((peer) => !known.trackers.includes(peer));
    for (const peer of left) this.#pool.unassign(peer, key, known.holding);
    for (const peer of trackers) {
      if (joined.includes(peer)) this.#pool.assign(peer, key, holding);
      else this.#pool.change(peer, key, known.holding, holding);
    }
    known.holding = holding;
    known.trackers = trackers;
    if (holding === 'complete') known.told = undefined;
    return { joined, left };
  }

  /** Takes a digest out; returns its trackers. */
  remove(key: DigestKey): readonly PeerId[] {
    const known = this.#announced.get(key);
    if (known === undefined) return [];
    this.#announced.delete(key);
    for (const peer of known.trackers) this.#pool.unassign(peer, key, known.holding);
    return known.trackers;
  }

  /** Returns those of the providers that nobody was told of yet, while the digest is being fetched; remembers them. */
  takeUntold(key: DigestKey, self: PeerId, providers: readonly Provider[]): readonly Provider[] {
    const known = this.#announced.get(key);
    if (known?.holding !== 'fetching') return [];
    const told = known.told ?? new Set();
    known.told = told;
    return providers.filter(({ peer }) => {
      if (peer === self || told.has(peer) || told.size >= this.#maxToldPerDigest) return false;
      told.add(peer);
      return true;
    });
  }
}

/** Groups digests by tracker, cut to what one message carries. */
export class Outgoing {
  readonly #byTracker = new Map<PeerId, Assignment[][]>();

  add(tracker: PeerId, assignment: Assignment): void {
    const chunks = this.#byTracker.get(tracker) ?? [[]];
    this.#byTracker.set(tracker, chunks);
    const last = chunks.at(-1);
    if (last !== undefined && last.length < maxDigestsPerMessage) last.push(assignment);
    else chunks.push([assignment]);
  }

  *batches(): Generator<{
    readonly tracker: PeerId;
    readonly assignments: readonly Assignment[];
    readonly batch: Batch;
  }> {
    for (const [tracker, chunks] of this.#byTracker) {
      for (const assignments of chunks) {
        const batch = {
          keys: assignments.map((assignment) => assignment.key),
          orders: assignments.map((assignment) => assignment.order),
        };
        yield { tracker, assignments, batch };
      }
    }
  }
}
