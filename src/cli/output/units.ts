/** Shortens a digest to what tells layers apart, as docker does. */
export function shortDigest(digest: string): string {
  const colon = digest.indexOf(':');
  return digest.slice(colon + 1, colon + 13);
}

/** Shortens a peer ID: the first characters are the same for every Ed25519 key, the last tell peers apart. */
export function shortPeer(peer: string): string {
  return peer.length > 12 ? `…${peer.slice(-8)}` : peer;
}
