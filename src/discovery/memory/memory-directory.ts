import type { PeerId } from '../../content/peer-id.ts';
import { Emitter } from '../../lib/emitter.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Announcement, Directory, Holding, Provider } from '../directory.ts';

/** One directory shared by every node that joined it, in one process; the twin that tests of other parts build on. */
export interface MemoryDirectoryHub {
  /** Returns the node's face of the directory; disposing it is the node's death: its records go. */
  join(self: PeerId): Directory & AsyncDisposable;
  /** Roots published by any node still joined. */
  roots(): readonly Digest[];
}

interface Topic {
  nextRank: number;
  /** In order of arrival. */
  readonly providers: Map<PeerId, { holding: Holding; readonly rank: number }>;
}

interface Seat {
  readonly pushes: Emitter<{ digest: Digest; provider: Provider }>;
  readonly roots: Set<Digest>;
}

export function createMemoryDirectoryHub(): MemoryDirectoryHub {
  const topics = new Map<Digest, Topic>();
  const seats = new Map<PeerId, Seat>();

  function record(self: PeerId, { digest, holding }: Announcement): void {
    const topic: Topic = topics.get(digest) ?? { nextRank: 0, providers: new Map() };
    topics.set(digest, topic);
    const known = topic.providers.get(self);
    if (known !== undefined) {
      known.holding = holding;
      return;
    }
    const rank = topic.nextRank++;
    topic.providers.set(self, { holding, rank });
    for (const [peer, other] of topic.providers) {
      if (peer === self || other.holding !== 'fetching') continue;
      // In its own microtask, as over a network: a listener must not run inside another node's announce.
      queueMicrotask(() => seats.get(peer)?.pushes.emit({ digest, provider: { peer: self, holding, rank } }));
    }
  }

  function forget(self: PeerId, digest: Digest): void {
    const topic = topics.get(digest);
    if (topic?.providers.delete(self) && topic.providers.size === 0) topics.delete(digest);
  }

  function answer(self: PeerId, digests: Iterable<Digest>): ReadonlyMap<Digest, readonly Provider[]> {
    const found = new Map<Digest, readonly Provider[]>();
    for (const digest of digests) {
      const providers = [...(topics.get(digest)?.providers ?? [])].filter(([peer]) => peer !== self);
      found.set(
        digest,
        providers.map(([peer, { holding, rank }]) => ({ peer, holding, rank })),
      );
    }
    return found;
  }

  return {
    join(self) {
      const seat: Seat = { pushes: new Emitter(), roots: new Set() };
      seats.set(self, seat);
      return {
        async announce(entries, signal) {
          signal.throwIfAborted();
          for (const entry of entries) record(self, entry);
          const found = answer(
            self,
            entries.filter(({ holding }) => holding === 'fetching').map(({ digest }) => digest),
          );
          return new Map(entries.map(({ digest }) => [digest, found.get(digest) ?? []]));
        },
        async find(digests, signal) {
          signal.throwIfAborted();
          return answer(self, digests);
        },
        async withdraw(digests, signal) {
          signal.throwIfAborted();
          for (const digest of digests) {
            forget(self, digest);
            seat.roots.delete(digest);
          }
        },
        onProvider: (listener) => seat.pushes.on(({ digest, provider }) => listener(digest, provider)),
        publishRoot: (digest) => void seat.roots.add(digest),
        async [Symbol.asyncDispose]() {
          if (seats.get(self) !== seat) return;
          seats.delete(self);
          for (const digest of [...topics.keys()]) forget(self, digest);
        },
      };
    },
    roots: () => [...new Set([...seats.values()].flatMap((seat) => [...seat.roots]))],
  };
}
