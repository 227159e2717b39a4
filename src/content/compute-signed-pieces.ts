import { ContentError } from './errors.ts';
import { pieceHash } from './piece-hash.ts';
import { pieceRange, planPieces } from './piece-plan.ts';
import { type BlobKey, type NodeIdentity, type SignedPiece, signPiece } from './signed-piece.ts';

/**
 * Computes and signs the hash of every piece of a blob that this node holds complete and verified, giving the event loop a
 * turn after each piece. @throws CONTENT_SHORT, the read function's own errors, the signal's reason
 */
export async function computeSignedPieces(
  identity: NodeIdentity,
  blob: BlobKey,
  read: (target: Uint8Array, position: number) => Promise<number>,
  signal: AbortSignal,
): Promise<readonly SignedPiece[]> {
  const plan = planPieces(blob.sizeBytes);
  const buffer = Buffer.allocUnsafeSlow(Math.min(plan.pieceBytes, blob.sizeBytes));
  const pieces: SignedPiece[] = [];
  for (let index = 0; index < plan.pieceCount; index += 1) {
    signal.throwIfAborted();
    const { start, end } = pieceRange(plan, index);
    const bytes = buffer.subarray(0, end - start);
    let filled = 0;
    while (filled < bytes.length) {
      const count = await read(bytes.subarray(filled), start + filled);
      if (count === 0) {
        throw new ContentError('CONTENT_SHORT', 'the blob ends before its size', {
          details: { digest: blob.digest, positionBytes: start + filled },
        });
      }
      filled += count;
    }
    pieces.push(signPiece(identity, blob, index, pieceHash(bytes)));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return pieces;
}
