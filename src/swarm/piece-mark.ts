import type { SignedPiece } from '../content/signed-piece.ts';

/**
 * A short name of a version of a piece: the beginning of its hash and the end of its signer. Travels with the news that a member holds
 * the piece, so that two who hold different bytes find out at once and not when the digest is wrong. Proves nothing.
 */
const hashBytes = 4;
// 35 bits in base58: enough to tell the signers of a fleet apart; a forged one only leads to a question more.
const signerBytes = 6;
export const markBytes = hashBytes + signerBytes;

export function markOf({ hash, signer }: SignedPiece): Buffer {
  return Buffer.concat([hash.subarray(0, hashBytes), signerMark(signer)]);
}

export function marksHash(mark: Uint8Array, { hash }: SignedPiece): boolean {
  return Buffer.compare(hashOfMark(mark), hash.subarray(0, hashBytes)) === 0;
}

/** The hash's part. */
export function hashOfMark(mark: Uint8Array): Uint8Array {
  return mark.subarray(0, hashBytes);
}

/** The signer's part. */
export function signerOfMark(mark: Uint8Array): string {
  return Buffer.from(mark.subarray(hashBytes)).toString('latin1');
}

export function signerMark(signer: string): Buffer {
  return Buffer.from(signer.slice(-signerBytes).padEnd(signerBytes), 'latin1');
}

/** Whether one of these signed the version. */
export function isMarkOf(mark: Uint8Array, signers: ReadonlySet<string>): boolean {
  if (signers.size === 0) return false;
  const signer = signerOfMark(mark);
  for (const one of signers) if (one.endsWith(signer)) return true;
  return false;
}
