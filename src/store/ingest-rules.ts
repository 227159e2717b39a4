import { type PiecePlan, pieceAt, pieceRange } from '../content/piece-plan.ts';
import type { SignedPiece } from '../content/signed-piece.ts';
import type { Digest } from '../oci/digest.ts';
import { StoreError } from './errors.ts';

/** The checks every ingest makes, wherever its bytes are. */
export function ingestClosed(digest: Digest): StoreError {
  return new StoreError('STORE_INGEST_CLOSED', 'ingest was closed before the call', { details: { digest } });
}

/** Refuses a piece that does not fit the plan; the caller is the same program, so this is a bug and not a code. */
export function checkPiece(plan: PiecePlan, piece: SignedPiece, bytes: Uint8Array): void {
  if (!Number.isInteger(piece.index) || piece.index < 0 || piece.index >= plan.pieceCount) {
    throw new RangeError(`piece ${piece.index} is outside of ${plan.pieceCount}`);
  }
  const { start, end } = pieceRange(plan, piece.index);
  if (bytes.length !== end - start) {
    throw new RangeError(`piece ${piece.index} has ${bytes.length} bytes instead of ${end - start}`);
  }
}

/** Returns where a read from the position must stop: at the length asked for, or before the first piece that is not held. */
export function readableEnd(
  plan: PiecePlan,
  pieces: ReadonlyMap<number, SignedPiece>,
  position: number,
  length: number,
): number {
  const wantedEnd = Math.min(position + length, plan.sizeBytes);
  let end = position;
  while (end < wantedEnd && pieces.has(pieceAt(plan, end))) end = pieceRange(plan, pieceAt(plan, end)).end;
  return Math.min(end, wantedEnd);
}

/** Refuses to commit what is not whole or not verified. @throws STORE_DIGEST_MISMATCH, STORE_INGEST_INCOMPLETE */
export function checkComplete(
  expected: Digest,
  verified: Digest,
  plan: PiecePlan,
  pieces: ReadonlyMap<number, SignedPiece>,
): void {
  if (verified !== expected) {
    throw new StoreError('STORE_DIGEST_MISMATCH', 'bytes do not hash to their digest', {
      details: { expected, actual: verified },
    });
  }
  if (pieces.size !== plan.pieceCount) {
    throw new StoreError('STORE_INGEST_INCOMPLETE', 'ingest lacks pieces', {
      details: { digest: expected, held: pieces.size, pieces: plan.pieceCount },
    });
  }
}
