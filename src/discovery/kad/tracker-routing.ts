import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import { Emitter } from '../../lib/emitter.ts';
import type { PeerNetwork } from '../../peer/peer-network.ts';
import { RendezvousRing } from '../rendezvous.ts';

/**
 * Says who tracks a digest. Nodes agree as far as they know the same members; with several trackers a digest, views that differ by a
 * few members still meet.
 */
export interface TrackerRouting {
  /** The nodes closest to a key of kad-dht's key space, closest first, this node included. */
  closestPeers(key: Uint8Array, count: number): readonly PeerId[];
  /** Passes over a node for a while, because it does not serve the directory. */
  markUnreachable(peer: PeerId): void;
  /** Told when `closestPeers` may answer otherwise than before. */
  onChange(listener: () => void): () => void;
}

/** Members known to a routing table and perhaps not connected. */
export interface PeerTable {
  peers(): readonly PeerId[];
  onChange(listener: () => void): () => void;
}

export interface TrackerRoutingDeps {
  readonly network: PeerNetwork;
  readonly clock: Clock;
  readonly table?: PeerTable;
}

export interface TrackerRoutingOptions {
  /** How long an unreachable node is passed over, unless it connects before. */
  readonly unreachableMs: number;
}

/**
 * Routes over this node, everyone connected, and whoever the table adds. A routing table keeps the dead until it pings them, so
 * a node that has disconnected or could not be reached is passed over, whatever the table says.
 */
export function createTrackerRouting(
  deps: TrackerRoutingDeps,
  options: TrackerRoutingOptions,
): TrackerRouting & Disposable {
  const { network, clock, table } = deps;
  const ring = new RendezvousRing();
  const changes = new Emitter<void>();
  const passedOver = new Map<PeerId, () => void>();

  function update(): void {
    const members = new Set<PeerId>([network.self]);
    for (const { peer } of network.peers()) members.add(peer);
    for (const peer of table?.peers() ?? []) members.add(peer);
    for (const peer of passedOver.keys()) members.delete(peer);
    if (ring.replace(members)) changes.emit();
  }

  function passOver(peer: PeerId): void {
    if (peer === network.self) return;
    passedOver.get(peer)?.();
    passedOver.set(
      peer,
      clock.schedule(options.unreachableMs, () => {
        passedOver.delete(peer);
        update();
      }),
    );
    update();
  }

  const stopWatching = [
    network.onPeerChange(({ kind, peer }) => {
      if (kind === 'disconnected') {
        passOver(peer);
      } else {
        passedOver.get(peer)?.();
        passedOver.delete(peer);
        update();
      }
    }),
    table?.onChange(update),
  ];
  update();

  return {
    closestPeers: (key, count) => ring.closest(key, count),
    markUnreachable: passOver,
    onChange: (listener) => changes.on(listener),
    [Symbol.dispose]() {
      for (const stop of stopWatching) stop?.();
      for (const cancel of passedOver.values()) cancel();
    },
  };
}
