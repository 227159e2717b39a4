import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { threadCpuSeconds } from '../thread-cpu.ts';
import type { HashReport, HashRequest } from './messages.ts';

// Measured: 64 KiB to 4 MiB all cost 0.94-1.00 CPU-s/GiB of SHA-256; 512 KiB keeps the buffer inside a core's L2 cache.
const bufferBytes = 512 * 1024;
// About 4 ms of hashing: short enough that the next blob in line hardly waits, long enough that reports stay rare.
const turnBytes = 4 * 1024 * 1024;

interface Job {
  readonly id: number;
  readonly path: string;
  readonly hash: Hash;
  descriptor: number | undefined;
  hashedBytes: number;
  endBytes: number;
  finishBytes: number | undefined;
  isQueued: boolean;
}

/**
 * The work of one hash thread: blobs take turns, each turn reads and hashes the next few MiB of one blob with one shared
 * buffer. File calls are synchronous, because the thread has nothing else to do; between turns it listens.
 */
export class HashLoop {
  readonly #post: (report: HashReport) => void;
  readonly #jobs = new Map<number, Job>();
  readonly #queue: Job[] = [];
  readonly #buffer = Buffer.allocUnsafeSlow(bufferBytes);
  #cpuSeconds = 0;
  #isScheduled = false;

  constructor(post: (report: HashReport) => void) {
    this.#post = post;
  }

  /** Blobs open now. */
  get size(): number {
    return this.#jobs.size;
  }

  receive(request: HashRequest): void {
    if (request.type === 'open') {
      this.#jobs.set(request.id, {
        id: request.id,
        path: request.path,
        hash: createHash(request.algorithm),
        descriptor: undefined,
        hashedBytes: 0,
        endBytes: 0,
        finishBytes: undefined,
        isQueued: false,
      });
      return;
    }
    const job = this.#jobs.get(request.id);
    if (job === undefined) return;
    if (request.type === 'close') {
      this.#forget(job);
      return;
    }
    if (request.type === 'advance') {
      job.endBytes = Math.max(job.endBytes, request.endBytes);
    } else {
      job.finishBytes = request.sizeBytes;
      job.endBytes = request.sizeBytes;
    }
    this.#enqueue(job);
  }

  #enqueue(job: Job): void {
    if (job.isQueued) return;
    job.isQueued = true;
    this.#queue.push(job);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#turn();
      if (this.#queue.length > 0) this.#schedule();
    });
  }

  #turn(): void {
    const job = this.#queue.shift();
    if (job === undefined || !this.#jobs.has(job.id)) return;
    job.isQueued = false;
    const startedSeconds = threadCpuSeconds();
    const isAlive = this.#hashSome(job);
    this.#cpuSeconds += threadCpuSeconds() - startedSeconds;
    if (!isAlive) return;
    const cpuSeconds = this.#cpuSeconds;
    this.#post({ type: 'hashed', id: job.id, hashedBytes: job.hashedBytes, cpuSeconds });
    if (job.hashedBytes === job.finishBytes) {
      this.#forget(job);
      this.#post({ type: 'finished', id: job.id, hex: job.hash.digest('hex'), cpuSeconds });
    } else if (job.hashedBytes < job.endBytes) {
      this.#enqueue(job);
    }
  }

  /** Returns false when the job failed and is gone. */
  #hashSome(job: Job): boolean {
    const untilBytes = Math.min(job.endBytes, job.hashedBytes + turnBytes);
    try {
      while (job.hashedBytes < untilBytes) {
        job.descriptor ??= openSync(job.path, 'r');
        const wanted = Math.min(bufferBytes, untilBytes - job.hashedBytes);
        const count = readSync(job.descriptor, this.#buffer, 0, wanted, job.hashedBytes);
        if (count === 0) {
          this.#fail(job, 'CONTENT_SHORT', `file ends before byte ${untilBytes}`);
          return false;
        }
        job.hash.update(this.#buffer.subarray(0, count));
        job.hashedBytes += count;
      }
      return true;
    } catch (error) {
      this.#fail(job, 'CONTENT_READ_FAILED', String(error));
      return false;
    }
  }

  #fail(job: Job, code: 'CONTENT_SHORT' | 'CONTENT_READ_FAILED', reason: string): void {
    this.#forget(job);
    this.#post({ type: 'failed', id: job.id, code, positionBytes: job.hashedBytes, reason });
  }

  #forget(job: Job): void {
    this.#jobs.delete(job.id);
    if (job.descriptor !== undefined) closeSync(job.descriptor);
    job.descriptor = undefined;
  }
}
