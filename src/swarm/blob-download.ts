import type { PeerId } from '../content/peer-id.ts';
import { type PiecePlan, pieceRange, planPieces } from '../content/piece-plan.ts';
import type { PrefixVerifier, PrefixVerifiers } from '../content/prefix-verifier.ts';
import type { SignedPiece } from '../content/signed-piece.ts';
import type { Clock } from '../lib/clock.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';
import type { OriginErrorCode } from '../origin/errors.ts';
import type { BlobHandle, BlobStore, Ingest } from '../store/blob-store.ts';
import { BlobDownloadReader } from './blob-download-reader.ts';
import { SwarmError } from './errors.ts';
import type { ProvenSigners } from './proven-signers.ts';
import { Suspects } from './suspects.ts';
import type { BlobRequest, Download, DownloadReader, Transfer, TransferWait } from './swarm.ts';
import { type StoredFrom, TransferAccount } from './transfer-account.ts';
import { WithheldPieces } from './withheld-pieces.ts';

/**
 * The bytes' side of one download; who is asked for them is the scheduler's. waiting (opening the ingest) -> fetching ->
 * verifying (all pieces held) -> complete, or failed from any of them. Pieces given to `storePiece` are already verified against
 * their signed hash. `done` and every reader fail with the same error.
 */
export interface DownloadDeps {
  readonly blobs: BlobStore;
  readonly verifiers: PrefixVerifiers;
  readonly clock: Clock;
  readonly proven: Pick<ProvenSigners, 'has'>;
}

export type PieceOrigin = Exclude<StoredFrom, { readonly from: 'local' }>;

// As many places as a blob shared between repositories is worth trying at.
const maxRepositories = 8;
// Hashed on the event loop in about a millisecond, less than handing it to a thread takes.
const inlineHashBytes = 512 * 1024;

export class BlobDownload implements Download {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly plan: PiecePlan;
  readonly done: Promise<void>;
  /** Which peer gave each piece; absent = this node read it from the origin or held it. */
  readonly suppliers = new Map<number, PeerId>();
  readonly repositories: Repository[];
  readonly account: TransferAccount;
  /** The attempt that this one takes up, as it ended. */
  readonly earlier: Transfer | undefined;
  hedges: number;
  rejectedPieces: number;
  missing: string | undefined;
  /** Which pieces nobody can give, while that is so. */
  lacking: string | undefined;
  /** What the origin said last, unless it gave a piece since; clients are told that rather than to try again. */
  originError: OriginErrorCode | undefined;
  readonly #deps: DownloadDeps;
  readonly #startedAtMs: number;
  readonly #startedMs: number;
  readonly #ended = Promise.withResolvers<void>();
  readonly #phasesMs: Record<string, number>;
  readonly #writing = new Set<number>();
  readonly #readers = new Set<BlobDownloadReader>();
  #state: Transfer['state'] = 'waiting';
  #endedAtMs: number | undefined;
  #error: SwarmError | undefined;
  #ingest: Ingest | undefined;
  #verifier: PrefixVerifier | undefined;
  #prefixPieces = 0;
  readonly #withheld: WithheldPieces;
  #nextReader = 1;
  /** Pieces that were thrown away because they are doubted; what proves different once the digest is right is its signer's fault. */
  readonly suspects: Suspects;
  /** Signers caught lying about this blob. */
  readonly distrusted = new Set<PeerId>();
  /** Signers whose pieces others have in another version, as long as it is not known who is right. */
  readonly contested = new Set<PeerId>();
  /** Only own readings count any more. */
  isSelfReliant = false;
  /** Grows whenever pieces are thrown away: who looked at all pieces before has looked at others. */
  epoch = 0;
  #mismatches = 0;
  #ownMismatches = 0;
  /** Told when a reader starts to wait at a piece, moves on (another piece) or leaves (undefined). */
  onReader: (reader: number, piece: number | undefined) => void = () => {};
  /** Told of a piece that is held now, before any reader is: time to contest its signer. */
  onHeld: (piece: number) => void = () => {};

  constructor(deps: DownloadDeps, request: BlobRequest, earlier?: Transfer) {
    this.#deps = deps;
    this.earlier = earlier;
    this.digest = request.digest;
    this.sizeBytes = request.sizeBytes;
    this.plan = planPieces(request.sizeBytes);
    this.repositories = [request.repository];
    const nowMs = deps.clock.wallMs();
    this.#startedAtMs = earlier?.startedAtMs ?? nowMs;
    this.#startedMs = deps.clock.nowMs() - (nowMs - this.#startedAtMs);
    this.account = new TransferAccount(deps.clock, earlier);
    this.suspects = new Suspects(deps.clock);
    this.hedges = earlier?.hedges ?? 0;
    this.rejectedPieces = earlier?.rejectedPieces ?? 0;
    // What was reached in earnest before the end can be lost again.
    const reached = Object.entries(earlier?.phasesMs ?? {}).filter(([phase]) => lastingPhases.includes(phase));
    this.#phasesMs = Object.fromEntries(reached);
    this.#withheld = new WithheldPieces(deps.clock, deps.proven, () => this.notify());
    this.done = this.#ended.promise;
    this.done.catch(() => {});
  }

  get state(): Transfer['state'] {
    return this.#state;
  }

  get error(): SwarmError | undefined {
    return this.#error;
  }

  get hasEnded(): boolean {
    return this.#state === 'complete' || this.#state === 'failed';
  }

  /** Whether the digest of the whole blob is verified. */
  get isVerified(): boolean {
    return this.#phasesMs['verified'] !== undefined;
  }

  get heldPieces(): ReadonlyMap<number, SignedPiece> {
    return this.#ingest?.pieces ?? noPieces;
  }

  /** Returns whether the repository is one more to ask. */
  addRepository(repository: Repository): boolean {
    const isKnown = this.repositories.some(
      (known) => known.namespace === repository.namespace && known.name === repository.name,
    );
    if (isKnown || this.repositories.length >= maxRepositories) return false;
    this.repositories.push(repository);
    return true;
  }

  mark(phase: string): void {
    this.#phasesMs[phase] ??= Math.round(this.#deps.clock.nowMs() - this.#startedMs);
  }

  /** Takes down what the download waits for, unless it is not for others to move any more. */
  observe(wait: TransferWait | undefined): void {
    if (this.#state === 'fetching' && wait !== undefined) this.account.waitFor(wait);
  }

  /** Opens the ingest with what an earlier life left; returns false when the blob turned out to be complete already. */
  async open(): Promise<boolean> {
    if ((await this.#deps.blobs.findBlob(this.digest)) !== undefined) {
      this.account.hadAll(this.sizeBytes);
      this.mark('verified');
      this.#complete();
      return false;
    }
    const ingest = await this.#deps.blobs.openIngest(this.digest, this.sizeBytes);
    // Failed meanwhile, as at a stop of the node.
    if (this.hasEnded) {
      await ingest.close();
      return false;
    }
    this.#ingest = ingest;
    this.account.found(new Map([...ingest.pieces.keys()].map((piece) => [piece, this.pieceBytes(piece)])));
    this.#openVerifier(ingest);
    this.#state = 'fetching';
    return true;
  }

  hasPiece(index: number): boolean {
    return this.#ingest?.pieces.has(index) === true;
  }

  /**
   * Whether a client may have the piece before the digest is known. What a peer brought waits a while, and what is contested until that is
   * settled. The first piece is excepted, for a client waits for its first byte.
   */
  canGive(index: number): boolean {
    const piece = this.heldPieces.get(index);
    if (piece === undefined || this.#writing.has(index)) return false;
    if (!this.suppliers.has(index)) return true;
    if (this.contested.has(piece.signer) || this.distrusted.has(piece.signer)) return false;
    return index === 0 || this.plan.headPieces === 0 || !this.#withheld.has(index);
  }

  isWriting(index: number): boolean {
    return this.#writing.has(index);
  }

  pieceBytes(index: number): number {
    const range = pieceRange(this.plan, index);
    return range.end - range.start;
  }

  /** Writes a verified piece; returns false when it was there already. @throws STORE_FULL */
  async storePiece(piece: SignedPiece, bytes: Uint8Array, source: PieceOrigin): Promise<boolean> {
    const ingest = this.#ingest;
    if (ingest === undefined || this.hasEnded || ingest.pieces.has(piece.index) || this.#writing.has(piece.index))
      return false;
    this.#writing.add(piece.index);
    try {
      await ingest.writePiece(piece, bytes);
      // Found out meanwhile: what was thrown away then did not include this one.
      if (source.from === 'peer' && !this.believes(piece)) {
        if (!this.hasEnded) await ingest.dropPieces([piece.index]);
        return false;
      }
    } finally {
      this.#writing.delete(piece.index);
    }
    this.mark('firstPiece');
    this.account.stored(piece.index, bytes.length, source);
    if (source.from === 'peer') {
      this.suppliers.set(piece.index, source.peer);
      this.#withheld.arrived(piece.index, piece.signer);
    } else {
      this.suppliers.delete(piece.index);
      this.originError = undefined;
    }
    this.missing = undefined;
    this.lacking = undefined;
    for (const reader of this.#readers) reader.replaced(piece);
    this.onHeld(piece.index);
    this.#advance(ingest);
    this.notify();
    return true;
  }

  /** Hashes what is left and returns the digest of all bytes. */
  async verify(signal: AbortSignal): Promise<Digest> {
    this.#state = 'verifying';
    this.account.waitFor({ for: 'verification' });
    this.mark('lastPiece');
    if (this.#verifier === undefined) throw new SwarmError('SWARM_STOPPED', 'the download is closed');
    return this.#verifier.finish(this.sizeBytes, signal);
  }

  /** The digest is right: readers get the rest at once, the blob becomes complete. */
  async commit(verified: Digest): Promise<void> {
    this.mark('verified');
    for (const reader of this.#readers) reader.settle(this.heldPieces);
    this.notify();
    this.#verifier?.close();
    await this.#ingest?.commit(verified);
    this.#complete();
  }

  /** The digest is wrong: forgets the pieces and goes back to fetching. */
  async dropPieces(indexes: readonly number[]): Promise<void> {
    const ingest = this.#ingest;
    if (ingest === undefined) return;
    this.epoch += 1;
    this.#verifier?.close();
    const dropped = indexes.flatMap((index) => ingest.pieces.get(index) ?? []);
    for (const reader of this.#readers) reader.doubt(dropped);
    await ingest.dropPieces(indexes);
    for (const index of indexes) {
      this.account.dropped(index);
      this.suppliers.delete(index);
    }
    if (this.hasEnded) return;
    // Another drop may have opened one meanwhile.
    this.#verifier?.close();
    this.#openVerifier(ingest);
    this.#state = 'fetching';
    this.account.waitFor({ for: 'queue' });
  }

  /** Returns how often the digest was wrong. */
  countMismatch(): number {
    this.#mismatches += 1;
    return this.#mismatches;
  }

  /** Returns how often this node's own readings alone were wrong. */
  countOwnMismatch(): number {
    this.#ownMismatches += 1;
    return this.#ownMismatches;
  }

  /** Whether a piece of a peer may be taken: not one of those that were thrown away, nor of a signer that was found out. */
  believes(piece: SignedPiece): boolean {
    return !this.isSelfReliant && !this.distrusted.has(piece.signer) && !this.suspects.has(piece);
  }

  readPiece(target: Uint8Array, position: number): Promise<number> {
    if (this.#ingest === undefined) throw new SwarmError('SWARM_STOPPED', 'the download is closed');
    return this.#ingest.read(target, position);
  }

  openComplete(): Promise<BlobHandle> {
    return this.#deps.blobs.openBlob(this.digest);
  }

  /** Ends the download; its pieces stay for the next attempt. */
  async fail(error: SwarmError): Promise<void> {
    if (this.hasEnded) return;
    this.#state = 'failed';
    this.#error = error;
    this.#endedAtMs = this.#deps.clock.wallMs();
    this.account.waitFor(undefined);
    this.#withheld.close();
    this.#verifier?.close();
    this.#ended.reject(error);
    this.notify();
    await this.#ingest?.close();
  }

  openReader(range: { start: number; end: number }): DownloadReader {
    const reader = new BlobDownloadReader(this, this.#nextReader++, range, () => this.#readers.delete(reader));
    this.#readers.add(reader);
    return reader;
  }

  /** Wakes readers to look again. */
  notify(): void {
    for (const reader of this.#readers) reader.wake();
  }

  transfer(): Transfer {
    const missing = [this.lacking, this.missing].filter((text) => text !== undefined).join('; ');
    return {
      digest: this.digest,
      sizeBytes: this.sizeBytes,
      repository: this.repositories[0] ?? { namespace: '', name: '' },
      state: this.#state,
      startedAtMs: this.#startedAtMs,
      ...(this.#endedAtMs === undefined ? {} : { endedAtMs: this.#endedAtMs }),
      piecesHeld: this.#state === 'complete' ? this.plan.pieceCount : this.heldPieces.size,
      pieceCount: this.plan.pieceCount,
      bytes: this.account.bytes,
      peers: this.account.peers(),
      originBytesPerSecond: this.account.originBytesPerSecond(),
      stalls: this.account.stalls,
      hedges: this.hedges,
      rejectedPieces: this.rejectedPieces,
      mismatches: (this.earlier?.mismatches ?? 0) + this.#mismatches,
      resumptions: this.earlier === undefined ? 0 : this.earlier.resumptions + 1,
      ...(this.account.wait === undefined ? {} : { waitsFor: this.account.wait }),
      waitedMs: this.account.waitedMs(),
      ...(missing.length === 0 ? {} : { missing }),
      ...(this.#error === undefined ? {} : { error: `${this.#error.code}: ${this.#error.message}` }),
      phasesMs: { ...this.#phasesMs },
    };
  }

  #openVerifier(ingest: Ingest): void {
    this.#prefixPieces = 0;
    const read = (target: Uint8Array, position: number) => ingest.read(target, position);
    const { path } = ingest;
    const isSmall = this.sizeBytes <= inlineHashBytes;
    this.#verifier = this.#deps.verifiers.open(this.digest, path === undefined || isSmall ? { read } : { path, read });
    this.#advance(ingest);
  }

  #advance(ingest: Ingest): void {
    const before = this.#prefixPieces;
    while (ingest.pieces.has(this.#prefixPieces)) this.#prefixPieces += 1;
    if (this.#prefixPieces > before) this.#verifier?.advance(pieceRange(this.plan, this.#prefixPieces - 1).end);
  }

  #complete(): void {
    this.#state = 'complete';
    this.#endedAtMs = this.#deps.clock.wallMs();
    this.mark('committed');
    this.account.waitFor(undefined);
    this.#withheld.close();
    this.#ended.resolve();
    this.notify();
  }
}

const lastingPhases = ['providers', 'firstPiece'];

const noPieces: ReadonlyMap<number, SignedPiece> = new Map();
