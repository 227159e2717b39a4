import type { SignedPiece } from '../content/signed-piece.ts';
import type { Digest } from '../oci/digest.ts';

/**
 * Blob bytes by digest. Life of a blob: ingest (pieces land in any order, survive a crash, are visible to nobody here) ->
 * commit (fsync, rename, fsync dir, index record) -> complete -> gone. A blob is complete or absent, never in between.
 * Invariants: what `openBlob` reads hashed to its digest when it was committed; an open handle keeps its bytes readable even
 * if the blob is removed meanwhile; there is one ingest per digest at a time.
 */
export interface BlobStore {
  /** Finds a complete blob. */
  findBlob(digest: Digest): Promise<BlobRecord | undefined>;
  /** Opens a complete blob for reading and marks its use. @throws STORE_NOT_FOUND */
  openBlob(digest: Digest): Promise<BlobHandle>;
  /** Walks all complete blobs, in no order. */
  walkBlobs(): AsyncIterable<BlobRecord>;
  /** Walks complete blobs, the one longest unused first; use is known to the nearest ten minutes. */
  walkLeastRecentlyUsed(): AsyncIterable<BlobRecord>;
  /** Opens the ingest of a digest: new, or the one an earlier life left, with the pieces that still verify. @throws STORE_INGEST_OPEN, STORE_FULL */
  openIngest(digest: Digest, sizeBytes: number): Promise<Ingest>;
  /** Stores bytes held in memory (manifests, configs) at once, durably. @throws STORE_DIGEST_MISMATCH, STORE_FULL */
  writeBlob(digest: Digest, bytes: Uint8Array): Promise<BlobRecord>;
  /** Returns the signed pieces kept with a complete blob; undefined when there are none (stored whole, or rebuilt). */
  findSignedPieces(digest: Digest): Promise<readonly SignedPiece[] | undefined>;
  /** Keeps signed pieces with a complete blob. */
  writeSignedPieces(digest: Digest, pieces: readonly SignedPiece[]): Promise<void>;
  /** Moves a blob found corrupt out of the way; from now on it is absent. */
  quarantineBlob(digest: Digest, reason: string): Promise<void>;
  /** Removes a blob. The caller has made sure that nothing refers to it. */
  removeBlob(digest: Digest): Promise<void>;
  /** Reports what is held. */
  usage(): Promise<StoreUsage>;
}

export interface BlobRecord {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly storedAtMs: number;
}

export interface BlobHandle {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Reads into the target from the position; returns the bytes read, 0 at the end. */
  read(target: Uint8Array, position: number): Promise<number>;
  close(): Promise<void>;
}

export interface Ingest {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** The file behind it, for a hash worker to read by itself; undefined in memory. */
  readonly path: string | undefined;
  /** Pieces held, by index; those of an earlier life are hash-checked before they appear here. */
  readonly pieces: ReadonlyMap<number, SignedPiece>;
  /**
   * Writes one piece that the caller has verified against its signed hash; resolves when it can be read back and would
   * survive kill -9. The bytes may be reused after that. Pieces may be written concurrently. @throws STORE_FULL
   */
  writePiece(piece: SignedPiece, bytes: Uint8Array): Promise<void>;
  /** Forgets pieces, so that they can be written again from another source. */
  dropPieces(indexes: readonly number[]): Promise<void>;
  /** Reads from pieces that are held, up to the first that is not; 0 = none there. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Makes the blob complete. `verified` is the digest computed over all bytes. @throws STORE_DIGEST_MISMATCH, STORE_INGEST_INCOMPLETE, STORE_FULL */
  commit(verified: Digest): Promise<BlobRecord>;
  /** Closes and keeps what is there for the next `openIngest`. Idempotent; a commit closes too. */
  close(): Promise<void>;
  /** Closes and throws away. Idempotent. */
  discard(): Promise<void>;
}

export interface StoreUsage {
  readonly blobs: number;
  readonly blobBytes: number;
  readonly ingests: number;
  readonly ingestBytes: number;
}
