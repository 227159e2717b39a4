import { countPassingBytes } from '../../lib/v8-flags.ts';
import type { HttpBody } from './http-client.ts';

/** How a body steers its connection. */
export interface BodyControl {
  pause(): void;
  resume(): void;
  abort(reason: Error): void;
}

// Four reads of a socket (64 KiB each): enough to keep it flowing while the consumer works, little per open body.
const pauseAboveBytes = 256 * 1024;
const resumeBelowBytes = 128 * 1024;
// Over TLS bytes come in records of a few KiB, and whoever reads them one by one takes longer than they do.
const joinedBytes = 64 * 1024;

/**
 * A bounded queue between the connection that pushes and the consumer that pulls. Measured on loopback against iterating the
 * client library's own body stream: 0.64 against 0.94 CPU-s per GiB.
 */
export class ResponseBody implements HttpBody {
  readonly #control: BodyControl;
  readonly #onSettled: () => void;
  #chunks: Uint8Array[] = [];
  #queuedBytes = 0;
  #isPaused = false;
  #isEnded = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(control: BodyControl, onSettled: () => void) {
    this.#control = control;
    this.#onSettled = onSettled;
  }

  push(chunk: Uint8Array): void {
    if (this.#isEnded) return;
    countPassingBytes(chunk.length);
    this.#chunks.push(chunk);
    this.#queuedBytes += chunk.length;
    if (!this.#isPaused && this.#queuedBytes > pauseAboveBytes) {
      this.#isPaused = true;
      this.#control.pause();
    }
    this.#wake?.();
  }

  /** What was received before a failure is still read first: it may be resumed after. */
  settle(error?: Error): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error = error;
    this.#onSettled();
    this.#wake?.();
  }

  /** Drops what is queued, so that an aborted consumer sees the reason at once. */
  abort(reason: Error): void {
    this.#drop();
    this.settle(reason);
    this.#error ??= reason;
  }

  /** Gives what is queued, small chunks joined, or what comes next. */
  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const chunk = this.#take();
      if (chunk !== undefined) {
        this.#queuedBytes -= chunk.length;
        if (this.#isPaused && this.#queuedBytes < resumeBelowBytes) {
          this.#isPaused = false;
          this.#control.resume();
        }
        return chunk;
      }
      if (this.#error !== undefined) throw this.#error;
      if (this.#isEnded) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  #take(): Uint8Array | undefined {
    let count = 0;
    for (let bytes = 0; count < this.#chunks.length; count += 1) {
      bytes += this.#chunks[count]?.length ?? 0;
      if (count > 0 && bytes > joinedBytes) break;
    }
    return count <= 1 ? this.#chunks.shift() : Buffer.concat(this.#chunks.splice(0, count));
  }

  cancel(): void {
    this.#drop();
    if (this.#isEnded) return;
    this.settle();
    this.#control.abort(new DOMException('the rest of the body is not wanted', 'AbortError'));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (let chunk = await this.read(); chunk !== undefined; chunk = await this.read()) yield chunk;
    } finally {
      this.cancel();
    }
  }

  #drop(): void {
    this.#chunks = [];
    this.#queuedBytes = 0;
  }
}
