import { createInlinePrefixVerifiers } from '../../src/content/inline-prefix-verifiers.ts';
import { pieceHash } from '../../src/content/piece-hash.ts';
import { pieceRange } from '../../src/content/piece-plan.ts';
import { type NodeIdentity, type SignedPiece, signPiece } from '../../src/content/signed-piece.ts';
import { digestOf } from '../../src/oci/digest.ts';
import type { BlobStore } from '../../src/store/blob-store.ts';
import { createMemoryStore } from '../../src/store/memory/memory-store.ts';
import { BlobDownload } from '../../src/swarm/blob-download.ts';
import { ProvenSigners } from '../../src/swarm/proven-signers.ts';
import { FakeClock } from './fake-clock.ts';
import { seededBytes } from './seeded-bytes.ts';
import { demoRepository } from './swarm-blobs.ts';

/** One download over a memory store, with the means to put pieces into it. */
export async function openTestDownload(
  identity: NodeIdentity,
  sizeBytes: number,
  changes: { seed?: number; blobs?: (blobs: BlobStore) => BlobStore } = {},
) {
  const clock = new FakeClock();
  const store = createMemoryStore({ clock });
  const blobs = changes.blobs?.(store.blobs) ?? store.blobs;
  const bytes = seededBytes(sizeBytes, changes.seed ?? 1);
  const digest = digestOf(bytes);
  const verifiers = createInlinePrefixVerifiers({ maxOpen: 8 });
  const download = new BlobDownload(
    { blobs, verifiers, clock, proven: new ProvenSigners(clock) },
    { digest, sizeBytes, repository: demoRepository },
  );
  await download.open();

  /** A piece as its signer made it; with `isWrong`, of other bytes. */
  const pieceOf = (index: number, signer = identity, isWrong = false): { piece: SignedPiece; bytes: Buffer } => {
    const { start, end } = pieceRange(download.plan, index);
    const content = Buffer.from(bytes.subarray(start, end));
    if (isWrong) content[0] = (content[0] ?? 0) ^ 1;
    return { piece: signPiece(signer, { digest, sizeBytes }, index, pieceHash(content)), bytes: content };
  };
  const store1 = async (index: number, signer = identity, isWrong = false) => {
    const made = pieceOf(index, signer, isWrong);
    return download.storePiece(made.piece, made.bytes, { from: 'origin' });
  };
  const storeAll = async () => {
    for (let index = 0; index < download.plan.pieceCount; index += 1) await store1(index);
  };
  return { clock, blobs, bytes, digest, sizeBytes, download, pieceOf, storePiece: store1, storeAll };
}
