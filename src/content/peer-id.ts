import { createPublicKey, type KeyObject } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { base58btc } from 'multiformats/bases/base58';

declare const peerIdBrand: unique symbol;

/** A node's identity in libp2p's text form: the Ed25519 public key itself (`12D3KooW...`). */
export type PeerId = string & { readonly [peerIdBrand]: true };

// libp2p peer-ids spec: identity multihash (0x00, 36 bytes) of the protobuf {Type: Ed25519 (08 01), Data: 32 bytes (12 20)}.
const prefix = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);
const multihashBytes = 2;
// RFC 8410: the fixed DER head of an Ed25519 SubjectPublicKeyInfo.
const spkiHead = Buffer.from('302a300506032b6570032100', 'hex');

// The same few are read again and again: one in each piece, and one per provider in each answer of the directory.
const known = new LRUCache<string, true>({ max: 1024 });

/** Reads a peer ID of an Ed25519 key, or returns undefined for anything else. */
export function findPeerId(text: string): PeerId | undefined {
  if (known.get(text) === undefined) {
    if (rawPublicKey(text) === undefined) return undefined;
    known.set(text, true);
  }
  return text as PeerId;
}

/** Reads a public key as libp2p's protobuf has it, or returns undefined for anything but an Ed25519 key. */
export function findRawPeerId(protobuf: Uint8Array): PeerId | undefined {
  return findPeerId(base58btc.baseEncode(Buffer.concat([prefix.subarray(0, multihashBytes), protobuf])));
}

/** Returns the public key of a peer ID as libp2p's protobuf has it. */
export function rawPeerId(peer: PeerId): Uint8Array {
  return base58btc.baseDecode(peer).subarray(multihashBytes);
}

/** Returns the key behind a peer ID; keys are cached by the caller where it matters. */
export function peerIdPublicKey(peer: PeerId): KeyObject {
  const raw = rawPublicKey(peer);
  if (raw === undefined) throw new TypeError(`not an Ed25519 peer ID: ${peer}`);
  return createPublicKey({ key: Buffer.concat([spkiHead, raw]), format: 'der', type: 'spki' });
}

function rawPublicKey(text: string): Uint8Array | undefined {
  if (text.length < 48 || text.length > 56) return undefined;
  try {
    const bytes = base58btc.baseDecode(text);
    if (bytes.length !== 38 || !prefix.every((byte, at) => bytes[at] === byte)) return undefined;
    return bytes.subarray(6);
  } catch {
    return undefined;
  }
}
