import { type BlobAnswer, readBlobAnswer } from './blob-answer.ts';
import { OriginError } from './errors.ts';
import type { HttpResponse } from './http/http-client.ts';
import type { ByteRange } from './origin.ts';

/** What a body needs of its session. */
export interface BlobSource {
  /** Asks for a range; resolves with the head. */
  request(range: ByteRange): Promise<HttpResponse>;
  /** Counts and, if a rate is set, waits. */
  pass(bytes: number): Promise<void>;
  /** The most to pass at once: under a rate bytes trickle, or the swarm would believe that the origin stands still. */
  readonly stepBytes: number;
  beforeResume(attempt: number): Promise<void>;
  /** Gives back what the body held; called once. */
  release(): void;
}

// Attempts in a row that brought less than `progressBytes`: then the origin is given up for this body.
const maxVainAttempts = 3;
// A resume that brings less is no progress, so that a blob cannot be fetched one byte per request.
const progressBytes = 64 * 1024;

/**
 * The bytes of one range, continued by Range after a cut or a stall. Ends after exactly the promised bytes or throws.
 * Every end (all read, return, a failure, an abort) releases the connection and the slot.
 */
export class BlobChunks implements AsyncIterableIterator<Uint8Array> {
  readonly #source: BlobSource;
  readonly #asked: ByteRange;
  readonly #signal: AbortSignal;
  readonly #onAbort = () => this.#close();
  /** Blob offset behind which the promised bytes end. */
  readonly #end: number;
  readonly #start: number;
  #response: HttpResponse;
  #answer: BlobAnswer;
  /** Blob offset of the next byte of the response. */
  #at: number;
  /** Blob offset behind the last byte that was read and is wanted. */
  #position: number;
  /** Read and not given out yet. */
  #unpassed: Uint8Array | undefined;
  #attemptStart: number;
  #vainAttempts = 0;
  #isClosed = false;

  /** @throws ORIGIN_BAD_ANSWER for an answer that cannot be this range; the response is then freed, the slot not */
  constructor(source: BlobSource, asked: ByteRange, response: HttpResponse, signal: AbortSignal) {
    this.#source = source;
    this.#asked = asked;
    this.#signal = signal;
    this.#response = response;
    this.#answer = this.#read(response, asked);
    this.#start = this.#answer.start;
    this.#end = this.#answer.isWhole ? asked.sizeBytes : asked.end;
    this.#at = this.#answer.start;
    this.#position = this.#answer.start;
    this.#attemptStart = this.#position;
    if (signal.aborted) this.#close();
    else signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  get isWhole(): boolean {
    return this.#start < this.#asked.start || this.#end > this.#asked.end;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    try {
      while (!this.#isClosed) {
        if (this.#unpassed === undefined) {
          if (this.#position >= this.#end) {
            await this.#finish();
            break;
          }
          this.#unpassed = await this.#readOrResume();
          continue;
        }
        const step = this.#unpassed.subarray(0, this.#source.stepBytes);
        this.#unpassed = step.length < this.#unpassed.length ? this.#unpassed.subarray(step.length) : undefined;
        await this.#source.pass(step.length);
        return { done: false, value: step };
      }
      this.#signal.throwIfAborted();
      return { done: true, value: undefined };
    } catch (error) {
      this.#close();
      this.#signal.throwIfAborted();
      throw error;
    }
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#close();
    return { done: true, value: undefined };
  }

  /** Returns the next wanted bytes, or undefined when there were none in this step. */
  async #readOrResume(): Promise<Uint8Array | undefined> {
    let chunk: Uint8Array | undefined;
    try {
      chunk = await this.#response.body.read();
    } catch (error) {
      if (!(error instanceof OriginError) || error.code !== 'ORIGIN_CUT') throw error;
      await this.#resume(error);
      return undefined;
    }
    if (chunk === undefined) {
      // The head of a partial answer may honestly promise less than was asked for; anything else ends too early.
      if (this.#at < this.#answer.end) throw this.#wrongLength();
      await this.#resume(undefined);
      return undefined;
    }
    const skipped = Math.max(0, this.#position - this.#at);
    this.#at += chunk.length;
    if (this.#at > this.#answer.end) throw this.#wrongLength();
    const wanted = chunk.subarray(skipped, chunk.length - Math.max(0, this.#at - this.#end));
    this.#position += wanted.length;
    if (this.#position - this.#attemptStart >= progressBytes) this.#vainAttempts = 0;
    return wanted.length === 0 ? undefined : wanted;
  }

  async #resume(cause: OriginError | undefined): Promise<void> {
    const asked = { start: this.#position, end: this.#end, sizeBytes: this.#asked.sizeBytes };
    this.#response.body.cancel();
    this.#vainAttempts += 1;
    if (this.#vainAttempts > maxVainAttempts) throw this.#cut(cause);
    try {
      if (cause !== undefined) await this.#source.beforeResume(this.#vainAttempts);
      this.#response = await this.#source.request(asked);
      // Closed while waiting for the head: nobody else knows of this response.
      if (this.#isClosed) this.#response.body.cancel();
      else this.#answer = this.#read(this.#response, asked);
    } catch (error) {
      throw error instanceof OriginError ? this.#cut(error) : error;
    }
    this.#at = this.#answer.start;
    this.#attemptStart = this.#position;
  }

  /** All promised bytes are out: makes sure that none follow, unless the answer was meant to be left early. */
  async #finish(): Promise<void> {
    if (this.#at < this.#answer.end) {
      this.#close();
      return;
    }
    const extra = await this.#response.body.read().catch(() => undefined);
    if (extra !== undefined) throw this.#wrongLength();
    this.#close();
  }

  #read(response: HttpResponse, asked: ByteRange): BlobAnswer {
    try {
      return readBlobAnswer(response, asked);
    } catch (error) {
      response.body.cancel();
      throw error;
    }
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#response.body.cancel();
    this.#source.release();
  }

  #wrongLength(): OriginError {
    return new OriginError('ORIGIN_BAD_ANSWER', 'the body is not as long as its head says', {
      details: this.#lengths(),
    });
  }

  #cut(cause: OriginError | undefined): OriginError {
    return new OriginError('ORIGIN_CUT', 'the body ended early and could not be continued', {
      ...(cause === undefined ? {} : { cause }),
      details: this.#lengths(),
    });
  }

  #lengths(): { receivedBytes: number; expectedBytes: number } {
    return { receivedBytes: this.#position - this.#start, expectedBytes: this.#end - this.#start };
  }
}
