import { raceAbort } from '../lib/race-abort.ts';
import type { Digest } from '../oci/digest.ts';
import { ContentError } from './errors.ts';
import type { PrefixVerifier } from './prefix-verifier.ts';

/** What does the hashing behind a verifier. Is never called again after `stop`. */
export interface HashEngine {
  advance(endBytes: number): void;
  finish(sizeBytes: number): void;
  stop(): void;
}

/**
 * The face of one verifier: checks the order of calls, keeps the outcome, and tells its owner once when it is over.
 * States: hashing -> finishing -> over (digest known, failed or closed); `close` leads to over from everywhere.
 */
export class TrackedVerifier implements PrefixVerifier {
  readonly expected: Digest;
  readonly #engine: HashEngine;
  readonly #onOver: () => void;
  readonly #outcome = Promise.withResolvers<Digest>();
  #isOver = false;
  #hashedBytes = 0;
  #endBytes = 0;
  #finishBytes: number | undefined;

  constructor(expected: Digest, createEngine: (verifier: TrackedVerifier) => HashEngine, onOver: () => void) {
    this.expected = expected;
    this.#onOver = onOver;
    // Nobody may be waiting in `finish` when a verifier fails; the failure is kept for whoever calls it.
    this.#outcome.promise.catch(() => {});
    this.#engine = createEngine(this);
  }

  get hashedBytes(): number {
    return this.#hashedBytes;
  }

  /** @throws RangeError beyond the size given to `finish` */
  advance(endBytes: number): void {
    if (this.#finishBytes !== undefined && endBytes > this.#finishBytes) {
      throw new RangeError(`advance to ${endBytes} after finish at ${this.#finishBytes}`);
    }
    if (endBytes <= this.#endBytes) return;
    this.#endBytes = endBytes;
    if (!this.#isOver) this.#engine.advance(endBytes);
  }

  /** @throws RangeError before bytes already advanced to, CONTENT_SHORT, CONTENT_READ_FAILED, CONTENT_THREAD_LOST, CONTENT_CLOSED */
  async finish(sizeBytes: number, signal: AbortSignal): Promise<Digest> {
    signal.throwIfAborted();
    if (this.#finishBytes === undefined) {
      if (sizeBytes < this.#endBytes) throw new RangeError(`finish at ${sizeBytes} after advance to ${this.#endBytes}`);
      this.#finishBytes = sizeBytes;
      this.#endBytes = sizeBytes;
      if (!this.#isOver) this.#engine.finish(sizeBytes);
    } else if (sizeBytes !== this.#finishBytes) {
      throw new RangeError(`finish at ${sizeBytes} after finish at ${this.#finishBytes}`);
    }
    return await raceAbort(this.#outcome.promise, signal);
  }

  close(): void {
    if (this.#isOver) return;
    this.#engine.stop();
    this.failed(new ContentError('CONTENT_CLOSED', 'the verifier was closed before the digest was known'));
  }

  /** Called by the engine. */
  hashed(hashedBytes: number): void {
    this.#hashedBytes = hashedBytes;
  }

  /** Called by the engine; the last call. */
  finished(digest: Digest): void {
    this.#outcome.resolve(digest);
    this.#end();
  }

  /** Called by the engine; the last call. */
  failed(error: Error): void {
    this.#outcome.reject(error);
    this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#onOver();
  }
}

/** The verifiers open at one time, at most so many. */
export class OpenVerifiers {
  readonly #maxOpen: number;
  readonly #open = new Set<TrackedVerifier>();
  #isClosed = false;

  constructor(maxOpen: number) {
    this.#maxOpen = maxOpen;
  }

  /** @throws CONTENT_CLOSED, CONTENT_TOO_MANY_OPEN */
  open(
    expected: Digest,
    createEngine: (verifier: TrackedVerifier) => HashEngine,
    onOver: () => void = () => {},
  ): TrackedVerifier {
    if (this.#isClosed) throw new ContentError('CONTENT_CLOSED', 'verifying has stopped');
    if (this.#open.size >= this.#maxOpen) {
      throw new ContentError('CONTENT_TOO_MANY_OPEN', 'too many blobs are being verified at once', {
        details: { maxOpen: this.#maxOpen },
      });
    }
    const verifier: TrackedVerifier = new TrackedVerifier(expected, createEngine, () => {
      this.#open.delete(verifier);
      onOver();
    });
    this.#open.add(verifier);
    return verifier;
  }

  /** Closes all and refuses new ones. */
  close(): void {
    this.#isClosed = true;
    for (const verifier of [...this.#open]) verifier.close();
  }
}
