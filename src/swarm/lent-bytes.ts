import { BufferPool, bufferSize } from '../lib/buffer-pool.ts';
import type { Clock } from '../lib/clock.ts';
import { urgentSlots } from './upload-queue.ts';

const largestPieceBytes = 4 * 1024 * 1024;
// The window of the origin is at most as many extents of that size.
const originPieces = 8;
const idleMs = 10_000;

/** Buffers for one piece of each turn at the origin and of each upload; who finds none free waits. */
export function createPiecePool(clock: Clock, uploadSlots: number): BufferPool {
  const pieces = originPieces + uploadSlots + urgentSlots;
  return new BufferPool(clock, { maxBytes: pieces * largestPieceBytes, idleMs });
}

/**
 * Room for one piece after the other in a buffer of a pool, as large as the piece needs. Released once, when nothing reads or writes the bytes any more;
 * from then on it has no room.
 */
export class LentBytes {
  readonly #pool: BufferPool;
  #buffer: Buffer | undefined;
  #isReleased = false;
  bytes: Buffer = Buffer.alloc(0);

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  get isReleased(): boolean {
    return this.#isReleased;
  }

  /** Makes `bytes` so long; what they held is lost. One call at a time. */
  async fit(sizeBytes: number, signal: AbortSignal): Promise<void> {
    if (this.#isReleased) throw new Error('the buffer was given back');
    const neededBytes = bufferSize(sizeBytes);
    if (this.#buffer?.length !== neededBytes) {
      this.#giveBack();
      const buffer = await this.#pool.acquire(neededBytes, signal);
      if (this.#isReleased) {
        this.#pool.release(buffer);
        throw new Error('the buffer was given back');
      }
      this.#buffer = buffer;
    }
    this.bytes = this.#buffer.subarray(0, sizeBytes);
  }

  release(): void {
    this.#isReleased = true;
    this.#giveBack();
  }

  #giveBack(): void {
    const buffer = this.#buffer;
    this.#buffer = undefined;
    if (buffer !== undefined) this.#pool.release(buffer);
  }
}
