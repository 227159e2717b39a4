import type { PeerId } from '../content/peer-id.ts';
import { pieceHash } from '../content/piece-hash.ts';
import { isSignatureValid, type SignedPiece } from '../content/signed-piece.ts';
import type { Clock } from '../lib/clock.ts';
import { isAbort, isCode } from '../lib/errors.ts';
import { hex } from '../lib/hex.ts';
import type { Logger } from '../lib/logger.ts';
import type { TokenBucket } from '../lib/token-bucket.ts';
import type { BulkAddress, BulkClient } from '../peer/bulk.ts';
import { PeerError } from '../peer/errors.ts';
import type { BanList } from './bans.ts';
import type { BlobDownload } from './blob-download.ts';
import type { DownloadPace } from './download-pace.ts';
import type { RequestOutcome } from './schedule/request-ends.ts';
import type { RequestState } from './schedule/state.ts';
import type { SwarmMetrics } from './swarm-metrics.ts';

/** Carries out one request to a peer: bytes in, pieces verified against their signed hash, then handed to the download. */
export interface PeerRequestsDeps {
  readonly bulk: BulkClient;
  readonly bans: BanList;
  readonly bucket: TokenBucket;
  readonly pace: DownloadPace;
  readonly clock: Clock;
  readonly metrics: SwarmMetrics;
  readonly logger: Logger;
  readonly findAddress: (peer: PeerId) => BulkAddress | undefined;
  readonly onProgress: (requestId: number, receivedBytes: number) => void;
  readonly onStored: (
    download: BlobDownload,
    index: number,
    from: { readonly peer: PeerId; readonly id: number },
  ) => void;
  readonly onRefused: (download: BlobDownload, index: number, peer: PeerId) => void;
  /** A peer is caught: the evidence names blob, piece and hashes, or what was asked and what came. */
  readonly onLiar: (
    peer: PeerId,
    reason: 'wrong bytes' | 'false signature' | 'broke the protocol',
    evidence: string,
  ) => void;
  /** Bytes of pieces arrive. */
  readonly onMoving: (peer: PeerId) => void;
  /** The answer has begun as if the pieces followed. */
  readonly onPromise: (requestId: number) => void;
  /** A request ended in which no byte came: it stood still, or was not needed any more after the answer had begun. */
  readonly onSilence: (request: RequestState & { readonly peer: PeerId }) => void;
}

// A TLS record is 16 KiB; the scheduler need not hear of each, but soon enough for a slow link not to look like one that stands still.
const progressStepBytes = 128 * 1024;
const progressStepMs = 250;

export async function runPeerRequest(
  deps: PeerRequestsDeps,
  download: BlobDownload,
  request: RequestState & { readonly peer: PeerId },
  signal: AbortSignal,
): Promise<RequestOutcome> {
  const address = deps.findAddress(request.peer);
  if (address === undefined) return { kind: 'failed' };
  let bytes = 0;
  let receivedBytes = 0;
  let reportedBytes = 0;
  let reportedMs = Number.NEGATIVE_INFINITY;
  let isLiar = false;
  let isDoubted = false;
  const count = deps.pace.countFor(download.plan, request.first, request.count);
  const settle = deps.pace.charge(download.plan, request.first, count);
  const breached = (error: PeerError) => {
    const { evidence } = error.details;
    if (typeof evidence === 'string') deps.onLiar(request.peer, 'broke the protocol', evidence);
  };
  try {
    await deps.bulk.fetchPieces(
      {
        peer: request.peer,
        address,
        blob: { digest: download.digest, sizeBytes: download.sizeBytes },
        first: request.first,
        count,
        onHead: () => deps.onPromise(request.id),
        onBreach: breached,
        onProgress: (arrivedBytes) => {
          if (receivedBytes === 0) deps.onMoving(request.peer);
          receivedBytes += arrivedBytes;
          const nowMs = deps.clock.nowMs();
          if (receivedBytes - reportedBytes < progressStepBytes && nowMs - reportedMs < progressStepMs) return;
          reportedBytes = receivedBytes;
          reportedMs = nowMs;
          deps.onProgress(request.id, receivedBytes);
        },
        onPiece: async (piece, pieceBytes) => {
          bytes += pieceBytes.length;
          if (download.hasPiece(piece.index) || download.isWriting(piece.index)) return;
          const refusal = refuse(deps, download, request.peer, piece, pieceBytes);
          if (refusal === 'banned_signer') isDoubted = true;
          else if (refusal !== undefined) isLiar = true;
          if (refusal !== undefined) return;
          if (await download.storePiece(piece, pieceBytes, { from: 'peer', peer: request.peer })) {
            deps.onStored(download, piece.index, request);
          }
        },
      },
      signal,
    );
    if (isLiar) return { kind: 'failed' };
    return { kind: isDoubted ? 'doubted' : 'done', bytes };
  } catch (error) {
    const wasPromised = signal.aborted && request.promisedMs !== undefined;
    if (receivedBytes === 0 && (wasPromised || request.isStalled || isCode(error, 'PEER_STALLED')))
      deps.onSilence(request);
    if (signal.aborted) return { kind: 'cancelled' };
    if (error instanceof PeerError && error.code === 'PEER_PROTOCOL') breached(error);
    if (isCode(error, 'PEER_BUSY')) {
      const retryAfterMs = Number(error.details['retryAfterMs'] ?? 50);
      return { kind: 'busy', retryAfterMs };
    }
    if (isCode(error, 'PEER_ABSENT')) return { kind: 'absent' };
    // One that stood still before is counted by whoever runs it.
    if (isCode(error, 'PEER_STALLED') && !request.stoodStill) download.account.stalled(request.peer);
    if (isCode(error, 'STORE_FULL', 'STORE_UNWRITABLE')) throw error;
    if (!isAbort(error))
      deps.logger.debug({ peer: request.peer, digest: download.digest, error }, 'request to a peer failed');
    return { kind: 'failed' };
  } finally {
    settle(receivedBytes);
  }
}

/** Takes a small piece that a peer gave unasked, if it is wanted and right. */
export async function takeGivenPiece(
  deps: PeerRequestsDeps,
  download: BlobDownload,
  peer: PeerId,
  piece: SignedPiece,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  if (download.state !== 'fetching' || download.plan.pieceCount > 1 || bytes.length !== download.sizeBytes) return;
  if (!deps.bucket.isUnlimited) await deps.bucket.take(bytes.length, signal);
  if (download.hasPiece(piece.index) || download.isWriting(piece.index)) return;
  if (refuse(deps, download, peer, piece, bytes) !== undefined) return;
  if (await download.storePiece(piece, bytes, { from: 'peer', peer }))
    deps.onStored(download, piece.index, { peer, id: noRequest });
}

/** Says of a piece that no request brought it; the scheduler counts from one. */
export const noRequest = 0;

type Refusal = 'hash' | 'signature' | 'banned_signer';

/** Says why a piece is not taken, having told everybody whom that concerns; undefined = it is right, as far as its signer can be believed. */
function refuse(
  deps: PeerRequestsDeps,
  download: BlobDownload,
  peer: PeerId,
  piece: SignedPiece,
  bytes: Uint8Array,
): Refusal | undefined {
  const refusal = findRefusal(deps, download, peer, piece, bytes);
  if (refusal === undefined) return undefined;
  download.rejectedPieces += 1;
  deps.metrics.rejectedPieces.add(1, { reason: refusal });
  deps.onRefused(download, piece.index, peer);
  return refusal;
}

function findRefusal(
  deps: PeerRequestsDeps,
  download: BlobDownload,
  peer: PeerId,
  piece: SignedPiece,
  bytes: Uint8Array,
): Refusal | undefined {
  const blob = { digest: download.digest, sizeBytes: download.sizeBytes };
  // The sender may not know yet that the signer lied: no evidence against the sender.
  if (deps.bans.doubts(piece.signer) || !download.believes(piece)) {
    if (download.distrusted.has(piece.signer) && isSignatureValid(blob, piece)) download.suspects.add(piece);
    return 'banned_signer';
  }
  const actual = pieceHash(bytes);
  if (Buffer.compare(actual, piece.hash) !== 0) {
    const evidence = `${download.digest} piece ${piece.index}: said ${hex(piece.hash)}, sent ${hex(actual)}`;
    deps.onLiar(peer, 'wrong bytes', evidence);
    return 'hash';
  }
  if (!isSignatureValid(blob, piece)) {
    deps.onLiar(peer, 'false signature', `${download.digest} piece ${piece.index}: signature is not ${piece.signer}'s`);
    return 'signature';
  }
  return undefined;
}
