import { type KeyObject, verify } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Digest } from '../oci/digest.ts';
import { type PeerId, peerIdPublicKey } from './peer-id.ts';

/**
 * A piece's BLAKE3 hash with the word of the node that read it from the origin (or verified the whole blob).
 * The signature travels with the piece through every relay. It does not make the bytes true, it makes the signer answerable:
 * if all hashes fit and the digest does not, a signature is the evidence against its signer.
 */
export interface SignedPiece {
  readonly index: number;
  /** BLAKE3-256 of the piece's bytes. */
  readonly hash: Uint8Array;
  readonly signer: PeerId;
  /** Ed25519 over `signedPieceMessage`. */
  readonly signature: Uint8Array;
}

/** What a node can do with its own key. */
export interface NodeIdentity {
  readonly peerId: PeerId;
  /** Signs with the node's Ed25519 key; 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

export interface BlobKey {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

const context = 'shoal/piece/1\0';
const publicKeys = new LRUCache<PeerId, KeyObject>({ max: 4096 });

/** Returns the bytes that are signed: context, digest text, NUL, size (u64), index (u32), hash. */
export function signedPieceMessage(blob: BlobKey, index: number, hash: Uint8Array): Uint8Array {
  const head = Buffer.from(`${context}${blob.digest}\0`, 'latin1');
  const message = Buffer.alloc(head.length + 12 + hash.length);
  message.set(head);
  message.writeBigUInt64BE(BigInt(blob.sizeBytes), head.length);
  message.writeUInt32BE(index, head.length + 8);
  message.set(hash, head.length + 12);
  return message;
}

export function signPiece(identity: NodeIdentity, blob: BlobKey, index: number, hash: Uint8Array): SignedPiece {
  return { index, hash, signer: identity.peerId, signature: identity.sign(signedPieceMessage(blob, index, hash)) };
}

/** Tells whether the signature is the signer's over this blob, index and hash. Says nothing about the bytes. */
export function isSignatureValid(blob: BlobKey, piece: SignedPiece): boolean {
  if (piece.hash.length !== 32 || piece.signature.length !== 64) return false;
  let key = publicKeys.get(piece.signer);
  if (key === undefined) {
    key = peerIdPublicKey(piece.signer);
    publicKeys.set(piece.signer, key);
  }
  return verify(null, signedPieceMessage(blob, piece.index, piece.hash), key, piece.signature);
}
