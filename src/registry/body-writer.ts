import type { ServerResponse } from 'node:http';
import type { RangeReader } from '../image/images.ts';
import type { Clock } from '../lib/clock.ts';
import type { BufferPool } from './buffer-pool.ts';
import type { ByteSpan } from './byte-range.ts';

export interface BodyWriterDeps {
  readonly clock: Clock;
  readonly pool: BufferPool;
}

/** A span whose first bytes are being read. */
export interface BegunSpan {
  readonly reader: RangeReader;
  readonly span: ByteSpan;
  readonly buffer: Buffer;
  readonly first: Promise<number>;
}

/** A client that takes longer for one buffer gets small ones from then on: it cannot use more, and holds less. */
const slowWriteMs = 250;

/**
 * Writes spans of a blob into a response with two buffers: while one is on its way to the client the next is read. A buffer is
 * used again only when the kernel has taken its bytes, so a slow client slows the reading and nothing piles up.
 */
export class BodyWriter {
  readonly #deps: BodyWriterDeps;
  readonly #response: ServerResponse;
  readonly #stallTimeoutMs: number;
  readonly #signal: AbortSignal;
  #isSlow = false;
  #sentBytes = 0;

  constructor(deps: BodyWriterDeps, response: ServerResponse, stallTimeoutMs: number, signal: AbortSignal) {
    this.#deps = deps;
    this.#response = response;
    this.#stallTimeoutMs = stallTimeoutMs;
    this.#signal = signal;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Starts to read a span, so that headers need not be promised before the first bytes are there. */
  begin(reader: RangeReader, span: ByteSpan): BegunSpan {
    const buffer = this.#deps.pool.take(span.end - span.start, this.#isSlow);
    const first = reader.read(window(buffer, span.end - span.start), span.start, this.#signal);
    // Heard by `writeSpan`, or by nobody when the answer ends before it.
    first.catch(() => {});
    return { reader, span, buffer, first };
  }

  /** Gives up a span that will not be written. */
  abandon(begun: BegunSpan): void {
    this.#deps.pool.drop(begun.buffer);
  }

  /** Writes text between spans. */
  async writeText(text: string): Promise<void> {
    await this.#write(Buffer.from(text, 'latin1'));
  }

  /** Resolves when the kernel has all bytes. @throws what the reader throws; Error for a client that is gone or stalls */
  async writeSpan({ reader, span, buffer, first }: BegunSpan): Promise<void> {
    const { pool } = this.#deps;
    const taken = new Set([buffer]);
    let filling = buffer;
    let writing: Promise<void> = Promise.resolve();
    let isWhole = false;
    try {
      let count = await first;
      for (let at = span.start; ; ) {
        if (count === 0) throw new RangeError(`the blob ended at ${at} of ${span.end}`);
        at += count;
        await writing;
        writing = this.#write(filling.subarray(0, count));
        // Heard at the next turn; a read that fails first must not leave it alone.
        writing.catch(() => {});
        if (at >= span.end) break;
        filling = this.#next(taken, filling, span.end - at);
        count = await reader.read(window(filling, span.end - at), at, this.#signal);
      }
      await writing;
      isWhole = true;
    } finally {
      for (const used of taken) {
        if (isWhole) pool.give(used);
        else pool.drop(used);
      }
    }
  }

  /** Returns the other one of the pair, whose bytes have been taken by the kernel. */
  #next(taken: Set<Buffer>, current: Buffer, wantedBytes: number): Buffer {
    const { pool } = this.#deps;
    for (const other of taken) {
      if (other === current) continue;
      if (!this.#isSlow) return other;
      taken.delete(other);
      pool.give(other);
    }
    const next = pool.take(wantedBytes, this.#isSlow);
    taken.add(next);
    return next;
  }

  #write(bytes: Uint8Array): Promise<void> {
    const { clock } = this.#deps;
    const startedMs = clock.nowMs();
    return new Promise((resolve, reject) => {
      const cancel = clock.schedule(this.#stallTimeoutMs, () => {
        reject(new DOMException('the client took no byte for too long', 'TimeoutError'));
      });
      this.#response.write(bytes, (error) => {
        cancel();
        if (error !== undefined && error !== null) {
          reject(error);
          return;
        }
        this.#sentBytes += bytes.length;
        if (clock.nowMs() - startedMs > slowWriteMs) this.#isSlow = true;
        resolve();
      });
    });
  }
}

function window(buffer: Buffer, wantedBytes: number): Buffer {
  return buffer.length > wantedBytes ? buffer.subarray(0, wantedBytes) : buffer;
}
