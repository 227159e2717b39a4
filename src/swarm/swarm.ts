import type { PeerId } from '../content/peer-id.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';

/**
 * Fetches blobs from many peers and the origin at once, each piece verified before it is written, offered or served.
 * There is one download per digest, shared by all who ask. A download goes on when its readers leave; it ends complete (the
 * blob is in the store), or failed (its pieces are kept for the next attempt).
 */
export interface Swarm {
  /** Starts the download of a blob, or joins the one under way. Blobs asked for together should come in one call. */
  fetch(requests: readonly BlobRequest[]): readonly Download[];
  findDownload(digest: Digest): Download | undefined;
  /** Downloads under way and those that ended recently. */
  transfers(): readonly Transfer[];
  /** Peers met in swarms: rates, bytes, bans with evidence. */
  peers(): readonly SwarmPeer[];
}

export interface BlobRequest {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Where the origin has it; the first is tried first. */
  readonly repository: Repository;
}

export interface Download {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Resolves when the blob is verified and in the store. @throws SWARM_UNOBTAINABLE, SWARM_DIGEST_MISMATCH, SWARM_STOPPED */
  readonly done: Promise<void>;
  /**
   * Reads from pieces that are verified, waiting for the one at the position; the pieces a reader waits for come first.
   * Bytes at or after `withheldFrom` are not given before the digest of the whole blob is verified.
   */
  openReader(range: { start: number; end: number }): DownloadReader;
  transfer(): Transfer;
}

export interface DownloadReader {
  /**
   * Reads at most up to the end of the range; 0 = end. The last piece's worth of the range is withheld until the digest is
   * verified, so a reader never completes on wrong bytes. @throws as `done`
   */
  read(target: Uint8Array, position: number, signal: AbortSignal): Promise<number>;
  close(): void;
}

export interface Transfer {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly repository: Repository;
  readonly state: 'waiting' | 'fetching' | 'verifying' | 'complete' | 'failed';
  /** Of its first attempt. */
  readonly startedAtMs: number;
  readonly endedAtMs?: number;
  /** How often it was taken up again after it had failed or the node had stopped; all figures are of all attempts. */
  readonly resumptions: number;
  readonly piecesHeld: number;
  readonly pieceCount: number;
  readonly bytes: BytesBySource;
  /** Everyone who sent something or stood still. */
  readonly peers: readonly TransferPeer[];
  /** Bytes per second from the origin over the last few seconds; 0 once the transfer has ended. */
  readonly originBytesPerSecond: number;
  /** Requests to peers that stood still. */
  readonly stalls: number;
  readonly hedges: number;
  readonly rejectedPieces: number;
  /** How often all pieces were there and the digest was wrong. */
  readonly mismatches: number;
  /** What it is waiting for; absent once it has ended. */
  readonly waitsFor?: TransferWait;
  /** Where its time went, by what it waited for. */
  readonly waitedMs: Readonly<Partial<Record<WaitKind, number>>>;
  readonly missing?: string;
  readonly error?: string;
  /** Milliseconds spent until the first provider answer, first piece, last piece, verified, committed. */
  readonly phasesMs: Readonly<Record<string, number>>;
}

export interface TransferPeer {
  readonly peer: PeerId;
  readonly bytes: number;
  /** Over the last few seconds; 0 once the transfer has ended. */
  readonly bytesPerSecond: number;
  readonly stalls: number;
  /** How long nothing at all moved, and this peer owed the most. */
  readonly waitedMs: number;
}

/**
 * What a download can wait for: answers of the directory and of the members it names; bytes that nobody in the fleet holds yet,
 * so the origin's rate, whoever asks it; an origin that sends nothing or has failed; bytes that peers hold, so their links or this
 * node's; a peer that stands still while nothing else moves; other blobs that go first; somebody who has it; the hash; the disk.
 */
export const waitKinds = [
  'directory',
  'origin',
  'silentOrigin',
  'peers',
  'silentPeer',
  'queue',
  'ownRate',
  'nobody',
  'verification',
  'commit',
] as const;

export type WaitKind = (typeof waitKinds)[number];

export interface TransferWait {
  readonly for: WaitKind;
  /** The peer that stands still. */
  readonly peer?: PeerId;
}

export interface BytesBySource {
  readonly origin: number;
  readonly peer: number;
  /** Taken over from an earlier life of this download. */
  readonly local: number;
}

export interface SwarmPeer {
  readonly peer: PeerId;
  readonly isConnected: boolean;
  readonly zone?: string;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly rateBytesPerSecond: number;
  readonly rejectedPieces: number;
  readonly ban?: { readonly reason: string; readonly evidence: string; readonly sinceMs: number };
}
