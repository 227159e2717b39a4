import type { Writable } from 'node:stream';
import { type BufferPool, bufferSize } from '../../lib/buffer-pool.ts';
import type { PieceRun } from '../bulk.ts';

/** Written and being read: one on the wire, one waiting behind it, one filling. */
export const buffersPerRun = 3;

/**
 * One and one behind it. With more, node joins them into one writev, which TLS concatenates (half of the CPU time, libp2p.md
 * 2.2). The head of the answer counts as one: it goes alone.
 */
const maxWrites = 2;

/**
 * Sends the bytes of a run in buffers of the pool, straight to the socket, reading ahead. Used once. It ends with the last byte at the
 * kernel, with the first failure, or with `cut`; a buffer that a read or a write may still be using then is discarded, never
 * lent again.
 */
export class RunSender {
  readonly #run: PieceRun;
  readonly #pool: BufferPool;
  readonly #chunkBytes: number;
  readonly #onSent: (bytes: number) => void;
  readonly #ended = Promise.withResolvers<void>();
  /** Being written, in order. */
  readonly #written: Buffer[] = [];
  #filling: Buffer | undefined;
  #writes = 0;
  #sentBytes = 0;
  #isOver = false;
  #onRoom: (() => void) | undefined;

  constructor(run: PieceRun, pool: BufferPool, chunkBytes: number, onSent: (bytes: number) => void) {
    this.#run = run;
    this.#pool = pool;
    this.#chunkBytes = chunkBytes;
    this.#onSent = onSent;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Whether bytes are waiting for the peer to take them. */
  get isWaitingForPeer(): boolean {
    return this.#writes > 0;
  }

  /** Resolves when head and bytes are with the kernel. Who aborts the signal cuts too. */
  send(socket: Writable, head: string, signal: AbortSignal): Promise<void> {
    this.#writes += 1;
    socket.write(head, 'latin1', (error) => this.#onWritten(0, error));
    this.#sendBytes(socket, signal).catch((error) => this.cut(error));
    return this.#ended.promise;
  }

  /** Ends at once, without waiting for a read or for the peer. */
  cut(reason: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const buffer of this.#written) this.#pool.discard(buffer);
    if (this.#filling !== undefined) this.#pool.discard(this.#filling);
    this.#onRoom?.();
    this.#ended.reject(reason);
  }

  async #sendBytes(socket: Writable, signal: AbortSignal): Promise<void> {
    const chunkBytes = Math.min(this.#chunkBytes, this.#run.stepBytes ?? this.#chunkBytes);
    for (let position = this.#run.start; position < this.#run.end; ) {
      const length = Math.min(chunkBytes, this.#run.end - position);
      const buffer = await this.#pool.acquire(Math.min(this.#chunkBytes, bufferSize(length)), signal);
      if (this.#isOver) {
        this.#pool.release(buffer);
        return;
      }
      this.#filling = buffer;
      const bytes = length === buffer.length ? buffer : buffer.subarray(0, length);
      await this.#run.throttle(length, signal);
      await this.#fill(bytes, position);
      if (this.#writes >= maxWrites && !this.#isOver) await this.#room();
      if (this.#isOver) return;
      this.#filling = undefined;
      this.#written.push(buffer);
      this.#writes += 1;
      socket.write(bytes, (error) => this.#onWritten(length, error));
      position += length;
    }
  }

  async #fill(bytes: Buffer, position: number): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#isOver; ) {
      const count = await this.#run.read(at === 0 ? bytes : bytes.subarray(at), position + at);
      if (count <= 0) throw new Error(`the source ended ${bytes.length - at} bytes early`);
      at += count;
    }
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#onRoom = resolve;
    });
  }

  #onWritten(length: number, error: Error | null | undefined): void {
    if (this.#isOver) return;
    if (error) {
      this.cut(error);
      return;
    }
    this.#writes -= 1;
    const buffer = length === 0 ? undefined : this.#written.shift();
    if (buffer !== undefined) {
      this.#sentBytes += length;
      this.#onSent(length);
      this.#pool.release(buffer);
    }
    this.#onRoom?.();
    this.#onRoom = undefined;
    if (this.#writes > 0 || this.#sentBytes < this.#run.end - this.#run.start) return;
    this.#isOver = true;
    this.#ended.resolve();
  }
}
