import { type PiecePlan, pieceRange, planPieces } from '../../content/piece-plan.ts';
import type { SignedPiece } from '../../content/signed-piece.ts';
import { type BufferPool, bufferSize } from '../../lib/buffer-pool.ts';
import type { Clock } from '../../lib/clock.ts';
import type { PieceRequest } from '../bulk.ts';
import { PeerError, type PeerErrorCode } from '../errors.ts';
import type { BulkConnection, ConnectionOwner } from './bulk-connection.ts';
import { type ByteRange, formatRange, formatTarget, retryAfterHeader } from './bulk-request.ts';
import { maxPiecesHeaderBytes, piecesHeader, unpackPieces } from './piece-header.ts';
import { findNumber, findResponseHead, type ResponseHead } from './response-head.ts';

export interface TransferOptions {
  /** From the request to the end of the answer's head. */
  readonly headersTimeoutMs: number;
  /** Longest time without a byte while we are ready to read. */
  readonly stallTimeoutMs: number;
}

export interface TransferDeps {
  readonly clock: Clock;
  readonly pool: BufferPool;
}

/** The pieces header and about ten short ones. */
const maxHeadBytes = maxPiecesHeaderBytes + 2048;
/** A longer wait than this is a peer's way of being rude, not busy. */
const maxRetryAfterMs = 60_000;
/** For a busy peer that names no time. */
const defaultRetryAfterMs = 1000;

export interface TransferResult {
  /** Whether the connection can serve another request. */
  readonly isReusable: boolean;
  /** Set when the peer answered in good order, but with no pieces. */
  readonly refusal?: PeerError;
}

/**
 * One request on one connection. Bytes are copied into the piece being filled; while there is none (the consumer or the pool is
 * behind) the socket is paused, and what TLS had decrypted before waits in a list.
 */
export class PieceTransfer implements ConnectionOwner {
  readonly #connection: BulkConnection;
  readonly #request: PieceRequest;
  readonly #deps: TransferDeps;
  readonly #options: TransferOptions;
  readonly #plan: PiecePlan;
  readonly #range: ByteRange;
  readonly #ending = new AbortController();
  readonly #failure = Promise.withResolvers<never>();
  readonly #headArrived = Promise.withResolvers<ResponseHead>();
  #head: Buffer | undefined = Buffer.alloc(0);
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #target: Buffer | undefined;
  #targetBytes = 0;
  #filledBytes = 0;
  #filled: (() => void) | undefined;
  #receivedBytes = 0;
  #lastArrivalMs: number;
  #cancelWatch: () => void = () => {};

  constructor(connection: BulkConnection, request: PieceRequest, deps: TransferDeps, options: TransferOptions) {
    this.#connection = connection;
    this.#request = request;
    this.#deps = deps;
    this.#options = options;
    this.#plan = planPieces(request.blob.sizeBytes);
    const { start } = pieceRange(this.#plan, request.first);
    this.#range = { start, end: pieceRange(this.#plan, request.first + request.count - 1).end };
    this.#lastArrivalMs = deps.clock.nowMs();
    this.#failure.promise.catch(() => {});
    this.#headArrived.promise.catch(() => {});
  }

  /** Bytes of pieces so far. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Bytes of the answer so far, the head included; 0 tells that the peer may never have seen the request. */
  get heardBytes(): number {
    return this.#receivedBytes + (this.#head?.length ?? 1);
  }

  /** Runs to the end of the answer, which may be a refusal; throws for everything that also ends the connection. */
  async run(signal: AbortSignal): Promise<TransferResult> {
    const onAbort = () => this.#fail(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      this.#watch();
      this.#connection.send(this, this.#requestHead());
      const head = await this.#unlessFailed(this.#headArrived.promise);
      if (head.status !== 206) return this.#endRefused(head);
      await this.#receive(this.#readRunHead(head));
      if (this.#waitingBytes > 0) throw this.#tooMuch(this.#waiting[0] ?? Buffer.alloc(0));
      return { isReusable: isKeptAlive(head) };
    } catch (error) {
      this.#fail(error);
      throw error;
    } finally {
      this.#cancelWatch();
      signal.removeEventListener('abort', onAbort);
    }
  }

  onBytes(bytes: Buffer): void {
    this.#lastArrivalMs = this.#deps.clock.nowMs();
    if (this.#head !== undefined) {
      this.#onHeadBytes(this.#head, bytes);
      return;
    }
    this.#receivedBytes += bytes.length;
    this.#request.onProgress?.(bytes.length);
    this.#place(bytes);
  }

  /** Bytes came when the answer was over. What begins like another answer may mean something in another version: no breach. */
  tellStray(bytes: Buffer): void {
    if (!isHttp(bytes)) this.#request.onBreach?.(this.#tooMuch(bytes));
  }

  onClosed(cause: Error | undefined): void {
    this.#fail(
      this.#error('PEER_CUT', 'closed the connection before the end', { receivedBytes: this.#receivedBytes }, cause),
    );
  }

  #requestHead(): string {
    const { digest } = this.#request.blob;
    const target = formatTarget({ digest, first: this.#request.first, count: this.#request.count });
    return `GET ${target} HTTP/1.1\r\nHost: shoal\r\nRange: ${formatRange(this.#range)}\r\n\r\n`;
  }

  #onHeadBytes(before: Buffer, bytes: Buffer): void {
    try {
      this.#head = Buffer.concat([before, bytes]);
      const head = findResponseHead(this.#head);
      if (head === undefined) {
        if (this.#head.length > maxHeadBytes) throw new Error('the head is too long');
        return;
      }
      const rest = this.#head.subarray(head.length);
      this.#head = undefined;
      if (head.status === 206) this.#request.onHead?.();
      this.#headArrived.resolve(head);
      if (rest.length > 0) this.onBytes(rest);
    } catch (cause) {
      const evidence = `asked for ${this.#asked}, the answer begins with ${sample(Buffer.concat([before, bytes]))}`;
      const isProof = this.#head !== undefined && !isHttp(this.#head);
      this.#fail(this.#error('PEER_PROTOCOL', 'sent an unreadable head', isProof ? { evidence } : {}, cause));
    }
  }

  get #asked(): string {
    return `bytes ${this.#range.start}-${this.#range.end - 1} of ${this.#request.blob.digest}`;
  }

  #tooMuch(stray: Buffer): PeerError {
    const evidence = `asked for ${this.#asked}, went on behind them with ${sample(stray)}`;
    return this.#error('PEER_PROTOCOL', 'sent more than was asked', { evidence });
  }

  #readRunHead(head: ResponseHead): readonly SignedPiece[] {
    const { start, end } = this.#range;
    const contentRange = `bytes ${start}-${end - 1}/${this.#plan.sizeBytes}`;
    if (findNumber(head, 'content-length') !== end - start || head.headers.get('content-range') !== contentRange) {
      throw this.#error('PEER_PROTOCOL', 'answered with another range');
    }
    try {
      return unpackPieces(head.headers.get(piecesHeader) ?? '', this.#request.first, this.#request.count);
    } catch (cause) {
      throw this.#error('PEER_PROTOCOL', 'sent unreadable signatures', {}, cause);
    }
  }

  #endRefused(head: ResponseHead): TransferResult {
    const refusal = this.#refusal(head);
    if (findNumber(head, 'content-length') !== 0 || this.#waitingBytes > 0) throw refusal;
    return { isReusable: isKeptAlive(head), refusal };
  }

  #refusal(head: ResponseHead): PeerError {
    const { digest } = this.#request.blob;
    switch (head.status) {
      case 404:
      case 416:
        return this.#error('PEER_ABSENT', 'does not hold the pieces', { digest });
      case 503: {
        const retryAfterMs = Math.min(findNumber(head, retryAfterHeader) ?? defaultRetryAfterMs, maxRetryAfterMs);
        return this.#error('PEER_BUSY', 'has no upload slot', { retryAfterMs });
      }
      case 403:
        return this.#error('PEER_UNTRUSTED', 'does not count us to its fleet');
      case 500:
        return this.#error('PEER_CUT', 'could not read the pieces', { receivedBytes: 0 });
      default:
        return this.#error('PEER_PROTOCOL', `answered with status ${head.status}`);
    }
  }

  /** One piece is filled while the one before is with the consumer. */
  async #receive(pieces: readonly SignedPiece[]): Promise<void> {
    let consumed: Promise<void> = Promise.resolve();
    for (const piece of pieces) {
      const range = pieceRange(this.#plan, piece.index);
      const buffer = await this.#deps.pool.acquire(bufferSize(range.end - range.start), this.#ending.signal);
      try {
        await this.#fill(buffer, range.end - range.start);
        await this.#unlessFailed(consumed);
      } catch (error) {
        this.#deps.pool.release(buffer);
        throw error;
      }
      consumed = this.#consume(piece, buffer, range.end - range.start);
      consumed.catch((error) => this.#fail(error));
    }
    await this.#unlessFailed(consumed);
  }

  /** The buffer belongs to the consumer until its promise settles, even if the transfer failed long before. */
  async #consume(piece: SignedPiece, buffer: Buffer, length: number): Promise<void> {
    try {
      await this.#request.onPiece(piece, buffer.subarray(0, length));
    } finally {
      this.#deps.pool.release(buffer);
    }
  }

  #fill(buffer: Buffer, length: number): Promise<void> {
    if (this.#ending.signal.aborted) return this.#failure.promise;
    const filled = new Promise<void>((resolve) => {
      this.#filled = resolve;
    });
    this.#target = buffer;
    this.#targetBytes = length;
    this.#filledBytes = 0;
    this.#lastArrivalMs = this.#deps.clock.nowMs();
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const bytes of waiting) this.#place(bytes);
    if (this.#target !== undefined) this.#connection.resume();
    return this.#unlessFailed(filled);
  }

  #place(bytes: Buffer): void {
    let rest = bytes;
    if (this.#target !== undefined) {
      const room = this.#targetBytes - this.#filledBytes;
      // Called for every 16 KiB: a plain set costs a third less than Buffer's copy.
      this.#target.set(bytes.length > room ? bytes.subarray(0, room) : bytes, this.#filledBytes);
      this.#filledBytes += Math.min(room, bytes.length);
      if (bytes.length < room) return;
      this.#target = undefined;
      this.#filled?.();
      rest = bytes.subarray(room);
    }
    if (rest.length === 0) return;
    this.#waiting.push(Buffer.from(rest));
    this.#waitingBytes += rest.length;
    this.#connection.pause();
  }

  /** Only the time in which we were ready to read counts. */
  #watch(): void {
    const limitMs = this.#head === undefined ? this.#options.stallTimeoutMs : this.#options.headersTimeoutMs;
    const isReading = this.#head !== undefined || this.#target !== undefined;
    const silentMs = isReading ? this.#deps.clock.nowMs() - this.#lastArrivalMs : 0;
    if (silentMs >= limitMs) {
      const stage = this.#head === undefined ? 'body' : 'headers';
      this.#fail(this.#error('PEER_STALLED', 'sends nothing', { stage }));
      return;
    }
    this.#cancelWatch = this.#deps.clock.schedule(limitMs - silentMs, () => this.#watch());
  }

  #unlessFailed<Value>(work: Promise<Value>): Promise<Value> {
    return Promise.race([work, this.#failure.promise]);
  }

  #fail(error: unknown): void {
    if (this.#ending.signal.aborted) return;
    this.#target = undefined;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#ending.abort(error);
    this.#failure.reject(error);
    this.#connection.destroy();
  }

  #error(code: PeerErrorCode, what: string, details: Record<string, unknown> = {}, cause?: unknown): PeerError {
    const { peer } = this.#request;
    return new PeerError(code, `${peer} ${what}`, { cause, details: { peer, ...details } });
  }
}

function isKeptAlive(head: ResponseHead): boolean {
  return head.headers.get('connection')?.toLowerCase() !== 'close';
}

const httpStart = Buffer.from('HTTP/1.');

/** Whether it begins as the head of an answer does, as far as it goes. */
function isHttp(bytes: Buffer): boolean {
  const length = Math.min(bytes.length, httpStart.length);
  return bytes.subarray(0, length).equals(httpStart.subarray(0, length));
}

// Enough to recognise what it is, in a line of a log.
const sampleBytes = 16;

function sample(bytes: Buffer): string {
  return `0x${bytes.subarray(0, sampleBytes).toString('hex')}`;
}
