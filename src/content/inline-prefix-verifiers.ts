import { Semaphore } from '../lib/semaphore.ts';
import { TaskGroup } from '../lib/task-group.ts';
import { createDigestHash, type Digest, digestAlgorithm, parseDigest } from '../oci/digest.ts';
import { ContentError } from './errors.ts';
import type { PrefixSource, PrefixVerifier, PrefixVerifiers } from './prefix-verifier.ts';
import { threadCpuSeconds } from './thread-cpu.ts';
import { type HashEngine, OpenVerifiers, type TrackedVerifier } from './tracked-verifier.ts';

export interface InlinePrefixVerifiersOptions {
  /** Verifiers open at once; one more is refused. */
  readonly maxOpen: number;
}

// One buffer for all; the event loop is free again after about half a millisecond of hashing.
const bufferBytes = 512 * 1024;

/** Creates verifiers that read through the source and hash on the event loop: the twin for bytes that are in no file. */
export function createInlinePrefixVerifiers(options: InlinePrefixVerifiersOptions): PrefixVerifiers {
  return new InlinePrefixVerifiers(options);
}

class InlinePrefixVerifiers implements PrefixVerifiers {
  readonly #open: OpenVerifiers;
  /** Blobs take turns of one buffer, in the order of asking. */
  readonly #turns = new Semaphore(1);
  readonly #ending = new Set<Promise<void>>();
  #buffer: Uint8Array | undefined;
  #cpuSeconds = 0;

  constructor(options: InlinePrefixVerifiersOptions) {
    this.#open = new OpenVerifiers(options.maxOpen);
  }

  prepare(): void {
    // Nothing takes time to start here.
  }

  get cpuSeconds(): number {
    return this.#cpuSeconds;
  }

  open(expected: Digest, source: PrefixSource): PrefixVerifier {
    return this.#open.open(expected, (verifier) => this.#createEngine(verifier, source));
  }

  async close(): Promise<void> {
    this.#open.close();
    await Promise.all(this.#ending);
  }

  #createEngine(verifier: TrackedVerifier, source: PrefixSource): HashEngine {
    const algorithm = digestAlgorithm(verifier.expected);
    const hash = createDigestHash(algorithm);
    const tasks = new TaskGroup((error) => verifier.failed(error));
    let hashedBytes = 0;
    let endBytes = 0;
    let finishBytes: number | undefined;
    let isRunning = false;

    const hashOn = async (signal: AbortSignal) => {
      while (hashedBytes < endBytes && !signal.aborted) {
        const release = await this.#turns.acquire(signal);
        try {
          this.#buffer ??= new Uint8Array(bufferBytes);
          const target = this.#buffer.subarray(0, Math.min(bufferBytes, endBytes - hashedBytes));
          const count = await readSome(source, target, hashedBytes);
          this.#cpuSeconds += measure(() => hash.update(target.subarray(0, count)));
          hashedBytes += count;
        } finally {
          release();
        }
        if (!signal.aborted) verifier.hashed(hashedBytes);
        await new Promise((resolve) => setImmediate(resolve));
      }
      // In the same turn as the loop's last look at `endBytes`, so that no advance falls between.
      isRunning = false;
      if (hashedBytes === finishBytes && !signal.aborted) {
        verifier.finished(parseDigest(`${algorithm}:${hash.digest('hex')}`));
      }
    };

    const start = () => {
      if (isRunning) return;
      isRunning = true;
      tasks.run(hashOn);
    };

    return {
      advance(end) {
        endBytes = end;
        start();
      },
      finish(size) {
        endBytes = size;
        finishBytes = size;
        start();
      },
      stop: () => {
        const ending = tasks.stop().finally(() => this.#ending.delete(ending));
        this.#ending.add(ending);
      },
    };
  }
}

async function readSome(source: PrefixSource, target: Uint8Array, positionBytes: number): Promise<number> {
  let count: number;
  try {
    count = await source.read(target, positionBytes);
  } catch (cause) {
    throw new ContentError('CONTENT_READ_FAILED', 'reading bytes to verify failed', {
      cause,
      details: { positionBytes },
    });
  }
  if (count > 0) return count;
  throw new ContentError('CONTENT_SHORT', 'the bytes end before their size', { details: { positionBytes } });
}

function measure(work: () => void): number {
  const startedSeconds = threadCpuSeconds();
  work();
  return threadCpuSeconds() - startedSeconds;
}
