import type { PeerId } from '../content/peer-id.ts';
import { peerKadKey } from './digest-key.ts';

interface RingMember {
  readonly peer: PeerId;
  readonly key: Uint8Array;
  /** First 32 bits of the key: enough to order nearly every pair without touching the rest. */
  readonly prefix: number;
}

/**
 * The members of the fleet in kad-dht's key space. `closest` is a linear scan over 32-bit prefixes: at 1000 members 3 us, and
 * there is no table to keep in balance while members come and go.
 */
export class RendezvousRing {
  #members: RingMember[] = [];
  #byPeer = new Map<PeerId, RingMember>();

  get size(): number {
    return this.#members.length;
  }

  /** Takes the given peers as the members; tells whether that changed anything. */
  replace(peers: Iterable<PeerId>): boolean {
    const next = new Map<PeerId, RingMember>();
    let isSame = true;
    for (const peer of peers) {
      const known = this.#byPeer.get(peer);
      isSame &&= known !== undefined;
      next.set(peer, known ?? ringMember(peer));
    }
    if (isSame && next.size === this.#byPeer.size) return false;
    this.#byPeer = next;
    this.#members = [...next.values()];
    return true;
  }

  /** Returns up to `count` members closest to the key by XOR, closest first. */
  closest(key: Uint8Array, count: number): PeerId[] {
    const prefix = prefixOf(key);
    const best: RingMember[] = [];
    for (const member of this.#members) {
      const last = best.at(-1);
      if (best.length === count && last !== undefined && compareDistance(prefix, key, member, last) >= 0) continue;
      if (best.length === count) best.pop();
      let at = best.length;
      for (; at > 0; at -= 1) {
        const before = best[at - 1];
        if (before === undefined || compareDistance(prefix, key, member, before) >= 0) break;
      }
      best.splice(at, 0, member);
    }
    return best.map((member) => member.peer);
  }
}

function ringMember(peer: PeerId): RingMember {
  const key = peerKadKey(peer);
  return { peer, key, prefix: prefixOf(key) };
}

function prefixOf(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset, key.length).getUint32(0);
}

function compareDistance(prefix: number, key: Uint8Array, left: RingMember, right: RingMember): number {
  const byPrefix = ((left.prefix ^ prefix) >>> 0) - ((right.prefix ^ prefix) >>> 0);
  if (byPrefix !== 0) return byPrefix;
  for (let at = 4; at < key.length; at += 1) {
    const own = key[at] ?? 0;
    const order = ((left.key[at] ?? 0) ^ own) - ((right.key[at] ?? 0) ^ own);
    if (order !== 0) return order;
  }
  return 0;
}
