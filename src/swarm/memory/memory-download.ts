import type { PeerId } from '../../content/peer-id.ts';
import { pieceHash } from '../../content/piece-hash.ts';
import { type PiecePlan, pieceAt, pieceRange, planPieces } from '../../content/piece-plan.ts';
import { type NodeIdentity, signPiece } from '../../content/signed-piece.ts';
import type { Clock } from '../../lib/clock.ts';
import { isCode, toError } from '../../lib/errors.ts';
import { raceAbort } from '../../lib/race-abort.ts';
import { readFully } from '../../lib/read-fully.ts';
import { createDigestHash, type Digest, digestAlgorithm } from '../../oci/digest.ts';
import type { Repository } from '../../oci/repository.ts';
import type { Origin } from '../../origin/origin.ts';
import type { BlobHandle, BlobStore, Ingest } from '../../store/blob-store.ts';
import { SwarmError } from '../errors.ts';
import type { BlobRequest, Download, DownloadReader, Transfer } from '../swarm.ts';

export interface MemorySwarmDeps {
  readonly blobs: BlobStore;
  readonly origin: Origin;
  readonly identity: NodeIdentity;
  readonly clock: Clock;
  /** Stores of other nodes in this process, read before the origin is asked; absent = alone. */
  readonly peers?: () => readonly MemorySwarmPeer[];
}

interface MemorySwarmPeer {
  readonly peer: PeerId;
  readonly blobs: BlobStore;
}

/** Enough for a blob that several tenants name; more places would not make it easier to get. */
const maxRepositories = 8;

/** One download: waiting -> fetching -> verifying -> complete, or failed from any of them. */
export class MemoryDownload implements Download {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly done: Promise<void>;
  /** Resolves when the download has ended either way and its files are closed. */
  readonly settled: Promise<void>;
  readonly #deps: MemorySwarmDeps;
  readonly #plan: PiecePlan;
  readonly #repositories: Repository[];
  readonly #startedAtMs: number;
  readonly #startedMs: number;
  readonly #bytes = { origin: 0, peer: 0, local: 0 };
  readonly #peerBytes = new Map<PeerId, number>();
  readonly #phasesMs: Record<string, number> = {};
  #state: Transfer['state'] = 'waiting';
  #endedAtMs: number | undefined;
  #error: SwarmError | undefined;
  #ingest: Ingest | undefined;
  #pieces: ReadonlyMap<number, unknown> = new Map();
  #changed = Promise.withResolvers<void>();

  constructor(deps: MemorySwarmDeps, request: BlobRequest, signal: AbortSignal) {
    this.#deps = deps;
    this.digest = request.digest;
    this.sizeBytes = request.sizeBytes;
    this.#plan = planPieces(request.sizeBytes);
    this.#repositories = [request.repository];
    this.#startedAtMs = deps.clock.wallMs();
    this.#startedMs = deps.clock.nowMs();
    this.done = this.#run(signal);
    this.settled = this.done.catch(() => {});
  }

  get isComplete(): boolean {
    return this.#state === 'complete';
  }

  get error(): SwarmError | undefined {
    return this.#error;
  }

  get pieceBytes(): number {
    return this.#plan.pieceBytes;
  }

  /** Resolves at the next change of what can be read. */
  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  addRepository(repository: Repository): void {
    const isKnown = this.#repositories.some(
      (known) => known.namespace === repository.namespace && known.name === repository.name,
    );
    if (!isKnown && this.#repositories.length < maxRepositories) this.#repositories.push(repository);
  }

  openReader(range: { start: number; end: number }): DownloadReader {
    return new Reader(this, range);
  }

  openComplete(): Promise<BlobHandle> {
    return this.#deps.blobs.openBlob(this.digest);
  }

  /** Reads from a held piece; undefined while the piece at the position is missing. */
  async readHeld(target: Uint8Array, position: number): Promise<number | undefined> {
    const piece = pieceAt(this.#plan, position);
    const ingest = this.#ingest;
    if (ingest === undefined || !this.#pieces.has(piece)) return undefined;
    const room = pieceRange(this.#plan, piece).end - position;
    return await ingest.read(target.length > room ? target.subarray(0, room) : target, position);
  }

  transfer(): Transfer {
    return {
      digest: this.digest,
      sizeBytes: this.sizeBytes,
      repository: this.#repositories[0] as Repository,
      state: this.#state,
      startedAtMs: this.#startedAtMs,
      ...(this.#endedAtMs === undefined ? {} : { endedAtMs: this.#endedAtMs }),
      piecesHeld: this.isComplete ? this.#plan.pieceCount : this.#pieces.size,
      pieceCount: this.#plan.pieceCount,
      bytes: { ...this.#bytes },
      peers: [...this.#peerBytes].map(([peer, bytes]) => ({ peer, bytes, bytesPerSecond: 0, stalls: 0, waitedMs: 0 })),
      originBytesPerSecond: 0,
      stalls: 0,
      hedges: 0,
      rejectedPieces: 0,
      mismatches: 0,
      resumptions: 0,
      waitedMs: {},
      ...(this.#error === undefined ? {} : { error: this.#error.code }),
      phasesMs: { ...this.#phasesMs },
    };
  }

  async #run(signal: AbortSignal): Promise<void> {
    // Nothing happens before the caller has the download in its table.
    await Promise.resolve();
    try {
      if ((await this.#deps.blobs.findBlob(this.digest)) === undefined) await this.#obtain(signal);
      else this.#bytes.local = this.sizeBytes;
      this.#finish('complete');
    } catch (error) {
      this.#error = this.#translate(error, signal);
      this.#finish('failed');
      throw this.#error;
    }
  }

  async #obtain(signal: AbortSignal): Promise<void> {
    const ingest = await this.#deps.blobs.openIngest(this.digest, this.sizeBytes);
    this.#ingest = ingest;
    this.#pieces = ingest.pieces;
    for (const piece of ingest.pieces.keys()) this.#bytes.local += this.#sizeOf(piece);
    this.#state = 'fetching';
    this.#change();
    try {
      await this.#fillFromPeers(ingest, signal);
      await this.#fillFromOrigin(ingest, signal);
      this.#mark('lastPiece');
      this.#state = 'verifying';
      const actual = await this.#hash(ingest, signal);
      if (actual !== this.digest) {
        await ingest.discard();
        throw new SwarmError('SWARM_DIGEST_MISMATCH', 'the bytes have another digest', {
          details: { digest: this.digest, actual },
        });
      }
      this.#mark('verified');
      await ingest.commit(actual);
      this.#mark('committed');
    } finally {
      this.#ingest = undefined;
      await ingest.close();
    }
  }

  async #fillFromPeers(ingest: Ingest, signal: AbortSignal): Promise<void> {
    for (const { peer, blobs } of this.#deps.peers?.() ?? []) {
      if (this.#firstMissing() === undefined) return;
      const held = await blobs.findBlob(this.digest);
      if (held?.sizeBytes !== this.sizeBytes) continue;
      const handle = await blobs.openBlob(this.digest);
      try {
        for (let index = this.#firstMissing(); index !== undefined; index = this.#firstMissing()) {
          signal.throwIfAborted();
          const bytes = Buffer.allocUnsafe(this.#sizeOf(index));
          const count = await readFully(handle, bytes, pieceRange(this.#plan, index).start);
          if (count < bytes.length) throw new RangeError('the blob ends before its size');
          this.#bytes.peer += bytes.length;
          this.#peerBytes.set(peer, (this.#peerBytes.get(peer) ?? 0) + bytes.length);
          await this.#write(ingest, index, bytes);
        }
      } finally {
        await handle.close();
      }
    }
  }

  async #fillFromOrigin(ingest: Ingest, signal: AbortSignal): Promise<void> {
    for (let at = 0; this.#firstMissing() !== undefined; at += 1) {
      const repository = this.#repositories[at] as Repository;
      try {
        await this.#fetchFrom(repository, ingest, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (at + 1 >= this.#repositories.length) throw error;
      }
    }
  }

  async #fetchFrom(repository: Repository, ingest: Ingest, signal: AbortSignal): Promise<void> {
    const first = this.#firstMissing();
    if (first === undefined) return;
    const range = { start: pieceRange(this.#plan, first).start, end: this.sizeBytes, sizeBytes: this.sizeBytes };
    const body = await this.#deps.origin.openBlob(repository, this.digest, range, { signal });
    let piece = body.isWhole ? 0 : first;
    let held = Buffer.allocUnsafe(this.#sizeOf(piece));
    let filled = 0;
    for await (const chunk of body.chunks) {
      this.#bytes.origin += chunk.length;
      for (let at = 0; at < chunk.length; ) {
        const part = chunk.subarray(at, at + held.length - filled);
        held.set(part, filled);
        filled += part.length;
        at += part.length;
        if (filled < held.length) continue;
        if (!this.#pieces.has(piece)) await this.#write(ingest, piece, held);
        piece += 1;
        filled = 0;
        if (piece < this.#plan.pieceCount) held = Buffer.allocUnsafe(this.#sizeOf(piece));
      }
    }
  }

  async #write(ingest: Ingest, index: number, bytes: Uint8Array): Promise<void> {
    const blob = { digest: this.digest, sizeBytes: this.sizeBytes };
    await ingest.writePiece(signPiece(this.#deps.identity, blob, index, pieceHash(bytes)), bytes);
    this.#mark('firstPiece');
    this.#change();
  }

  async #hash(ingest: Ingest, signal: AbortSignal): Promise<Digest> {
    const algorithm = digestAlgorithm(this.digest);
    const hash = createDigestHash(algorithm);
    const buffer = Buffer.allocUnsafe(Math.min(this.#plan.pieceBytes, Math.max(1, this.sizeBytes)));
    for (let position = 0; position < this.sizeBytes; ) {
      signal.throwIfAborted();
      const count = await ingest.read(buffer, position);
      if (count === 0) throw new RangeError('the ingest ends before its size');
      hash.update(buffer.subarray(0, count));
      position += count;
    }
    return `${algorithm}:${hash.digest('hex')}` as Digest;
  }

  #firstMissing(): number | undefined {
    for (let index = 0; index < this.#plan.pieceCount; index += 1) if (!this.#pieces.has(index)) return index;
    return undefined;
  }

  #sizeOf(piece: number): number {
    const { start, end } = pieceRange(this.#plan, piece);
    return end - start;
  }

  #mark(phase: string): void {
    this.#phasesMs[phase] ??= this.#deps.clock.nowMs() - this.#startedMs;
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  #finish(state: 'complete' | 'failed'): void {
    this.#state = state;
    this.#endedAtMs = this.#deps.clock.wallMs();
    this.#change();
  }

  #translate(error: unknown, signal: AbortSignal): SwarmError {
    if (signal.aborted) return signal.reason as SwarmError;
    if (isCode(error, 'SWARM_DIGEST_MISMATCH')) return error as SwarmError;
    const cause = toError(error);
    const code = 'code' in cause ? cause.code : undefined;
    const missingPieces = this.#plan.pieceCount - this.#pieces.size;
    return new SwarmError('SWARM_UNOBTAINABLE', 'neither a peer nor the origin gave the blob', {
      cause,
      details: { digest: this.digest, missingPieces, originError: code },
    });
  }
}

class Reader implements DownloadReader {
  readonly #download: MemoryDownload;
  readonly #end: number;
  readonly #withheldFrom: number;
  #handle: Promise<BlobHandle> | undefined;
  #isClosed = false;

  constructor(download: MemoryDownload, range: { start: number; end: number }) {
    this.#download = download;
    this.#end = Math.min(range.end, download.sizeBytes);
    this.#withheldFrom = Math.max(range.start, this.#end - download.pieceBytes);
  }

  async read(target: Uint8Array, position: number, signal: AbortSignal): Promise<number> {
    for (;;) {
      signal.throwIfAborted();
      if (position >= this.#end || target.length === 0) return 0;
      const { changed, error, isComplete } = this.#download;
      if (error !== undefined) throw error;
      if (isComplete) return await this.#readComplete(target.subarray(0, this.#end - position), position);
      if (position < this.#withheldFrom) {
        const count = await this.#readHeld(target.subarray(0, this.#withheldFrom - position), position);
        if (count !== undefined) return count;
      }
      await raceAbort(changed, signal);
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // A handle that cannot be closed has nobody left to tell; the store counts it.
    this.#handle?.then((handle) => handle.close()).catch(() => {});
  }

  async #readComplete(target: Uint8Array, position: number): Promise<number> {
    this.#handle ??= this.#download.openComplete();
    return await (await this.#handle).read(target, position);
  }

  async #readHeld(target: Uint8Array, position: number): Promise<number | undefined> {
    try {
      return await this.#download.readHeld(target, position);
    } catch (error) {
      // The commit closed the ingest meanwhile: the next round reads from the complete blob.
      if (this.#download.isComplete || isCode(error, 'STORE_INGEST_CLOSED')) return undefined;
      throw error;
    }
  }
}
