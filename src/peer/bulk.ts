import type { PeerId } from '../content/peer-id.ts';
import type { BlobKey, SignedPiece } from '../content/signed-piece.ts';
import type { Digest } from '../oci/digest.ts';
import type { PeerError } from './errors.ts';

/**
 * The bulk plane: runs of pieces over HTTP/1.1 on mutual TLS 1.3 with peer-ID certificates. It moves bytes and knows who sent
 * them; whether they are right is the swarm's question. Only peers of the fleet are served.
 */
export interface BulkClient {
  /**
   * Fetches a run of pieces from a peer. Each complete piece goes to `onPiece`, in order, awaited before more is read than the
   * buffers hold; its bytes belong to the client again when that promise resolves.
   * @throws PEER_UNREACHABLE, PEER_UNTRUSTED, PEER_STALLED, PEER_ABSENT, PEER_BUSY, PEER_CUT, PEER_PROTOCOL
   */
  fetchPieces(request: PieceRequest, signal: AbortSignal): Promise<void>;
  /** Connects to a peer that will be asked soon, if no connection to it is there; nothing comes of it when that fails. */
  prepare(peer: PeerId, address: BulkAddress): void;
}

export interface PieceRequest {
  readonly peer: PeerId;
  /** Where its bulk plane listens, learnt over the control plane. */
  readonly address: BulkAddress;
  readonly blob: BlobKey;
  readonly first: number;
  readonly count: number;
  onPiece(piece: SignedPiece, bytes: Uint8Array): Promise<void>;
  /** The peer has begun its answer and has the pieces; bytes should follow at once. */
  onHead?(): void;
  /**
   * The peer went on sending when the answer was over, which may be long after the promise has resolved. The error is PEER_PROTOCOL
   * with `evidence`, as of a request that fails with it.
   */
  onBreach?(error: PeerError): void;
  /** Told of every arrival of bytes and how many came with it, for rates, stalls and hedges. */
  onProgress?(arrivedBytes: number): void;
}

export interface BulkAddress {
  readonly host: string;
  readonly port: number;
}

/** What the bulk server serves from; the swarm implements it. */
export interface PieceSource {
  /** Opens a run of pieces for a peer, taking an upload slot. @throws PEER_ABSENT, PEER_BUSY */
  openPieces(peer: PeerId, digest: Digest, first: number, count: number, signal: AbortSignal): Promise<PieceRun>;
}

export interface PieceRun {
  readonly blob: BlobKey;
  readonly pieces: readonly SignedPiece[];
  /** Byte range of the run in the blob; `end` is exclusive. */
  readonly start: number;
  readonly end: number;
  /** The most to send at once, so that bytes trickle under a rate limit; absent = as much as a buffer holds. */
  readonly stepBytes?: number;
  read(target: Uint8Array, position: number): Promise<number>;
  /** Waits until so many bytes may be sent (rate limit). */
  throttle(bytes: number, signal: AbortSignal): Promise<void>;
  /** Gives the slot back; called exactly once. */
  release(sentBytes: number): void;
}
