import { pieceHash } from '../../src/content/piece-hash.ts';
import { pieceRange, planPieces } from '../../src/content/piece-plan.ts';
import { type BlobKey, type NodeIdentity, type SignedPiece, signPiece } from '../../src/content/signed-piece.ts';
import { seededRandom } from '../../src/lib/clock.ts';
import { digestOf } from '../../src/oci/digest.ts';
import type { PieceRun, PieceSource } from '../../src/peer/bulk.ts';
import { PeerError } from '../../src/peer/errors.ts';

export interface TestBlob {
  readonly key: BlobKey;
  readonly bytes: Buffer;
  readonly pieces: readonly SignedPiece[];
}

export function makeBlob(identity: NodeIdentity, sizeBytes: number, seed: number): TestBlob {
  const random = seededRandom(seed);
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0; at + 4 <= sizeBytes; at += 4) bytes.writeUInt32LE((random.next() * 2 ** 32) >>> 0, at);
  const key = { digest: digestOf(bytes), sizeBytes };
  const plan = planPieces(sizeBytes);
  const pieces = Array.from({ length: plan.pieceCount }, (_, index) => {
    const { start, end } = pieceRange(plan, index);
    return signPiece(identity, key, index, pieceHash(bytes.subarray(start, end)));
  });
  return { key, bytes, pieces };
}

/** Serves blobs from memory, counts what it lends out, and can be made to misbehave. */
export class MemoryPieceSource implements PieceSource {
  readonly blobs = new Map<string, TestBlob>();
  openRuns = 0;
  opened = 0;
  releasedBytes: number[] = [];
  /** Replaces the reading of bytes. */
  read: ((blob: TestBlob, target: Uint8Array, position: number) => Promise<number>) | undefined;
  /** Runs before a run opens; may throw or wait. */
  beforeOpen: ((signal: AbortSignal) => Promise<void>) | undefined;

  add(blob: TestBlob): void {
    this.blobs.set(blob.key.digest, blob);
  }

  openPieces: PieceSource['openPieces'] = async (peer, digest, first, count, signal) => {
    this.opened += 1;
    await this.beforeOpen?.(signal);
    const blob = this.blobs.get(digest);
    const plan = planPieces(blob?.key.sizeBytes ?? 0);
    if (blob === undefined || first + count > plan.pieceCount) {
      throw new PeerError('PEER_ABSENT', 'not here', { details: { peer, digest } });
    }
    this.openRuns += 1;
    const run: PieceRun = {
      blob: blob.key,
      pieces: blob.pieces.slice(first, first + count),
      start: pieceRange(plan, first).start,
      end: pieceRange(plan, first + count - 1).end,
      read: async (target, position) => {
        if (this.read !== undefined) return this.read(blob, target, position);
        return blob.bytes.copy(target, 0, position, position + target.length);
      },
      throttle: async () => {},
      release: (sentBytes) => {
        this.openRuns -= 1;
        this.releasedBytes.push(sentBytes);
      },
    };
    return run;
  };
}
