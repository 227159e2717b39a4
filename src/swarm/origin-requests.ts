import { pieceHash } from '../content/piece-hash.ts';
import { pieceAt, pieceRange, runRange } from '../content/piece-plan.ts';
import { type NodeIdentity, signPiece } from '../content/signed-piece.ts';
import type { BufferPool } from '../lib/buffer-pool.ts';
import { type Clock, delay } from '../lib/clock.ts';
import { isCode } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { TokenBucket } from '../lib/token-bucket.ts';
import { isRetryableOriginError, OriginError } from '../origin/errors.ts';
import type { Origin, OriginBody } from '../origin/origin.ts';
import type { BlobDownload } from './blob-download.ts';
import { LentBytes } from './lent-bytes.ts';
import type { RequestOutcome } from './schedule/request-ends.ts';
import type { RequestState } from './schedule/state.ts';

/** Carries out one turn at the origin: bytes in, cut into pieces, each hashed and signed by this node and handed to the download. */
export interface OriginRequestsDeps {
  readonly origin: Origin;
  readonly identity: NodeIdentity;
  readonly bucket: TokenBucket;
  /** Lends the buffer a piece is gathered in, one to each request. */
  readonly pool: BufferPool;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onProgress: (requestId: number, receivedBytes: number) => void;
  /** `bytes` are those of the piece; they may be overwritten when the call is over. */
  readonly onStored: (download: BlobDownload, index: number, request: RequestState, bytes: Uint8Array) => void;
  /** The origin ignores Range: all of the blob would come. From now on one member streams it. */
  readonly onWhole: (download: BlobDownload) => void;
}

// The scheduler need not hear of each packet, but soon enough for a slow origin not to look like one that stands still.
const progressStepBytes = 64 * 1024;
const progressStepMs = 250;
// On a slow link bytes come a packet at a time, and each costs as much as sixteen at once: so little has the next ones gather for a moment,
// unless it is of a blob's head, for which clients wait.
const trickleBytes = 16 * 1024;
const gatherMs = 10;

export async function runOriginRequest(
  deps: OriginRequestsDeps,
  download: BlobDownload,
  request: RequestState,
  signal: AbortSignal,
): Promise<RequestOutcome> {
  const repository = download.repositories[0];
  if (repository === undefined) return { kind: 'originFailed', isFinal: true, retryAfterMs: undefined };
  const range = runRange(download.plan, request.first, request.count);
  try {
    const body = await deps.origin.openBlob(
      repository,
      download.digest,
      { ...range, sizeBytes: download.sizeBytes },
      { signal },
    );
    if (body.isWhole) {
      await dropBody(body);
      deps.onWhole(download);
      return { kind: 'cancelled' };
    }
    const receivedBytes = await takePieces(deps, download, request, body.chunks, range, signal);
    return { kind: 'done', bytes: receivedBytes };
  } catch (error) {
    if (signal.aborted) return { kind: 'cancelled' };
    if (isCode(error, 'STORE_FULL', 'STORE_UNWRITABLE')) throw error;
    if (!(error instanceof OriginError)) throw error;
    deps.logger.debug({ digest: download.digest, error }, 'request to the origin failed');
    const isFinal = !isRetryableOriginError(error.code);
    download.missing = `origin ${repository.namespace}: ${error.message}`;
    download.originError = error.code;
    // The same bytes may be readable under another name; another request may have found out first.
    if (isFinal && download.repositories.length > 1 && download.repositories[0] === repository)
      download.repositories.shift();
    if (isFinal && download.repositories[0] !== repository) return runOriginRequest(deps, download, request, signal);
    const retryAfterMs = error.details['retryAfterMs'];
    return { kind: 'originFailed', isFinal, retryAfterMs: typeof retryAfterMs === 'number' ? retryAfterMs : undefined };
  }
}

/** Gives up a body of which nothing was read: its connection and slot are free again. */
export async function dropBody(body: OriginBody): Promise<void> {
  await body.chunks[Symbol.asyncIterator]().return?.();
}

async function takePieces(
  deps: OriginRequestsDeps,
  download: BlobDownload,
  request: RequestState,
  chunks: AsyncIterable<Uint8Array>,
  { start: startAt, end: endAt }: { readonly start: number; readonly end: number },
  signal: AbortSignal,
): Promise<number> {
  const { plan } = download;
  const blob = { digest: download.digest, sizeBytes: download.sizeBytes };
  let position = startAt;
  let index = pieceAt(plan, position);
  let range = pieceRange(plan, index);
  let reportedAt = startAt;
  let reportedMs = Number.NEGATIVE_INFINITY;
  const target = new LentBytes(deps.pool);
  try {
    await target.fit(range.end - range.start, signal);
    for await (const chunk of deps.bucket.isUnlimited ? chunks : pacedChunks(chunks, deps.bucket, signal)) {
      signal.throwIfAborted();
      let at = 0;
      while (at < chunk.length && position < endAt) {
        const count = Math.min(chunk.length - at, range.end - position);
        target.bytes.set(chunk.subarray(at, at + count), position - range.start);
        at += count;
        position += count;
        if (position < range.end) continue;
        if (!download.hasPiece(index)) {
          const piece = signPiece(deps.identity, blob, index, pieceHash(target.bytes));
          if (await download.storePiece(piece, target.bytes, { from: 'origin' }))
            deps.onStored(download, index, request, target.bytes);
        }
        index += 1;
        if (position >= endAt) break;
        range = pieceRange(plan, index);
        await target.fit(range.end - range.start, signal);
      }
      const nowMs = deps.clock.nowMs();
      if (position - reportedAt >= progressStepBytes || nowMs - reportedMs >= progressStepMs) {
        reportedAt = position;
        reportedMs = nowMs;
        deps.onProgress(request.id, position - startAt);
      }
      const isOver = position >= endAt;
      if (chunk.length < trickleBytes && index >= plan.headPieces && !isOver) await delay(deps.clock, gatherMs, signal);
    }
  } finally {
    target.release();
  }
  return position - startAt;
}

/** Lets bytes pass at the rate of the bucket, so few at once that they keep trickling: the others would believe that the turn stands still. */
async function* pacedChunks(
  chunks: AsyncIterable<Uint8Array>,
  bucket: TokenBucket,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += bucket.stepBytes) {
      const step = chunk.subarray(at, at + bucket.stepBytes);
      await bucket.take(step.length, signal);
      yield step;
    }
  }
}
