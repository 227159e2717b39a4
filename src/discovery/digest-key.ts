import { hash } from 'node:crypto';
import { base58btc } from 'multiformats/bases/base58';
import type { PeerId } from '../content/peer-id.ts';
import { type Digest, digestHex, parseDigest } from '../oci/digest.ts';

declare const digestKeyBrand: unique symbol;

/**
 * A digest's raw bytes as a string of one character a byte: a Map key half as large as the text form, which a tracker with a
 * million records notices. 32 characters are SHA-256, 64 are SHA-512; made only by the functions here.
 */
export type DigestKey = string & { readonly [digestKeyBrand]: true };

export const sha256KeyLength = 32;
export const sha512KeyLength = 64;

export function digestKey(digest: Digest): DigestKey {
  return Buffer.from(digestHex(digest), 'hex').toString('latin1') as DigestKey;
}

export function digestOfKey(key: DigestKey): Digest {
  const algorithm = key.length === sha256KeyLength ? 'sha256' : 'sha512';
  return parseDigest(`${algorithm}:${Buffer.from(key, 'latin1').toString('hex')}`);
}

export function digestKeyBytes(key: DigestKey): Uint8Array {
  return Buffer.from(key, 'latin1');
}

/** Reads the key from 32 or 64 raw bytes. */
export function digestKeyOfBytes(bytes: Uint8Array): DigestKey {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1') as DigestKey;
}

/** Returns the multihash: code, length, digest (multiformats table: 0x12 sha2-256, 0x13 sha2-512). */
export function digestMultihash(key: DigestKey): Uint8Array {
  const multihash = Buffer.allocUnsafe(2 + key.length);
  multihash[0] = key.length === sha256KeyLength ? 0x12 : 0x13;
  multihash[1] = key.length;
  multihash.write(key, 2, 'latin1');
  return multihash;
}

/** Where a digest lies in kad-dht's key space: SHA-256 of its multihash (kad-dht `convertBuffer`). */
export function digestKadKey(key: DigestKey): Uint8Array {
  return hash('sha256', digestMultihash(key), 'buffer');
}

/** Where a peer lies in kad-dht's key space: SHA-256 of its peer-ID multihash (kad-dht `convertPeerId`). */
export function peerKadKey(peer: PeerId): Uint8Array {
  return hash('sha256', base58btc.baseDecode(peer), 'buffer');
}
