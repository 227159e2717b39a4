import type { PeerId } from '../../content/peer-id.ts';
import type { Digest } from '../../oci/digest.ts';

/**
 * Highest-random-weight ranking: every node that knows the same members gives the same order without a word between them, and a
 * member that leaves moves only its own extents. Source: Thaler and Ravishankar, 1998. Part of the wire contract: all nodes
 * of a fleet must compute the same weights, so the function below may never change under one protocol version.
 */
export function rendezvousWeight(peer: PeerId, digest: Digest, extent: number): number {
  return mix(hashText(peer) ^ mix(hashText(digest) + Math.imul(extent + 1, 0x9e3779b1)));
}

/** Tells whether `peer` ranks before `other` for this extent. */
export function isBetter(peer: PeerId, other: PeerId, digest: Digest, extent: number): boolean {
  const weight = rendezvousWeight(peer, digest, extent);
  const otherWeight = rendezvousWeight(other, digest, extent);
  return weight > otherWeight || (weight === otherWeight && peer > other);
}

const textHashes = new Map<string, number>();

// FNV-1a: spread well enough once mixed below; cached because peer IDs and digests repeat for every extent.
function hashText(text: string): number {
  const known = textHashes.get(text);
  if (known !== undefined) return known;
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  // Bounded: a fleet's peers and the digests of current downloads fit many times over.
  if (textHashes.size > 8192) textHashes.clear();
  textHashes.set(text, hash >>> 0);
  return hash >>> 0;
}

// murmur3's 32-bit finaliser.
function mix(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
