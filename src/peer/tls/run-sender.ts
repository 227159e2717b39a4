import type { ServerResponse } from 'node:http';
import { raceAbort } from '../../lib/race-abort.ts';
import type { PieceRun } from '../bulk.ts';
import type { BufferPool } from './buffer-pool.ts';

/** Written and being read: one on the wire, one waiting behind it, one filling. */
export const buffersPerRun = 3;

/**
 * Sends the bytes of a run in buffers of the pool, reading ahead. At most two writes are outstanding: with more, node joins them
 * into one writev, which TLS concatenates (half of the CPU time, libp2p.md 2.2).
 */
export class RunSender {
  readonly #run: PieceRun;
  readonly #response: ServerResponse;
  readonly #pool: BufferPool;
  readonly #chunkBytes: number;
  readonly #onSent: (bytes: number) => void;
  #outstanding = 0;

  constructor(
    run: PieceRun,
    response: ServerResponse,
    pool: BufferPool,
    chunkBytes: number,
    onSent: (bytes: number) => void,
  ) {
    this.#run = run;
    this.#response = response;
    this.#pool = pool;
    this.#chunkBytes = chunkBytes;
    this.#onSent = onSent;
  }

  /** Whether bytes are waiting for the peer to take them. */
  get isWaitingForPeer(): boolean {
    return this.#outstanding > 0;
  }

  /** Resolves when all bytes are with the kernel. */
  async send(signal: AbortSignal): Promise<void> {
    const writes: Promise<void>[] = [];
    try {
      for (let position = this.#run.start; position < this.#run.end; ) {
        const length = Math.min(this.#chunkBytes, this.#run.end - position);
        const buffer = await this.#read(position, length, signal);
        try {
          if (writes.length > 1) await writes.shift();
          signal.throwIfAborted();
        } catch (error) {
          this.#pool.release(buffer);
          throw error;
        }
        writes.push(this.#write(buffer, length, signal));
        position += length;
      }
      for (const write of writes) await write;
    } finally {
      await Promise.allSettled(writes);
    }
  }

  async #read(position: number, length: number, signal: AbortSignal): Promise<Buffer> {
    const buffer = await this.#pool.acquire(this.#chunkBytes, signal);
    try {
      await this.#run.throttle(length, signal);
      for (let at = 0; at < length; ) {
        const count = await raceAbort(this.#run.read(buffer.subarray(at, length), position + at), signal);
        if (count <= 0) throw new Error(`the source ended ${length - at} bytes early`);
        at += count;
      }
      return buffer;
    } catch (error) {
      // A read that was given up may still write into it.
      this.#pool.discard(buffer);
      throw error;
    }
  }

  #write(buffer: Buffer, length: number, signal: AbortSignal): Promise<void> {
    const view = length === buffer.length ? buffer : buffer.subarray(0, length);
    const written = new Promise<void>((resolve, reject) => {
      // After an abort the socket is destroyed and may never call back.
      const onAbort = () => {
        this.#pool.discard(buffer);
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#outstanding += 1;
      this.#response.write(view, (error) => {
        this.#outstanding -= 1;
        if (signal.aborted) return;
        signal.removeEventListener('abort', onAbort);
        if (error) {
          this.#pool.discard(buffer);
          reject(error);
          return;
        }
        this.#onSent(length);
        this.#pool.release(buffer);
        resolve();
      });
    });
    // Awaited later; a failure before that must not count as unhandled.
    written.catch(() => {});
    return written;
  }
}
