import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { toError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { startWithPlainV8 } from '../lib/v8-flags.ts';
import { type Digest, digestAlgorithm, parseDigest } from '../oci/digest.ts';
import { ContentError } from './errors.ts';
import { createInlinePrefixVerifiers } from './inline-prefix-verifiers.ts';
import type { PrefixSource, PrefixVerifier, PrefixVerifiers } from './prefix-verifier.ts';
import { OpenVerifiers, type TrackedVerifier } from './tracked-verifier.ts';
import type { HashReport, HashRequest } from './worker/messages.ts';

export interface PrefixVerifiersDeps {
  readonly logger: Logger;
  /** Starts one hash thread; given by tests that need to kill it. */
  readonly startThread?: () => Worker;
}

export interface PrefixVerifiersOptions {
  /** Hash threads; each starts when it is first needed, the first of them with `prepare`. */
  readonly threads: number;
  /** A blob is given to a thread once so much of it is there, or all. */
  readonly startAtBytes: number;
  /** Verifiers open at once; one more is refused. Each may hold one file descriptor. */
  readonly maxOpen: number;
}

/** Creates verifiers that hash on worker threads, which read the files by themselves; a source without a path is hashed inline. */
export function createPrefixVerifiers(deps: PrefixVerifiersDeps, options: PrefixVerifiersOptions): PrefixVerifiers {
  return new ThreadedPrefixVerifiers(deps, options);
}

/** Starts a hash thread from the entry file, which is .ts when run from src and .js when run from dist, like this file. */
export function startHashThread(): Worker {
  const entry = new URL(`./worker/hash-thread${extname(import.meta.url)}`, import.meta.url);
  return startWithPlainV8(() => new Worker(entry, { name: 'shoal-hash' }));
}

class ThreadedPrefixVerifiers implements PrefixVerifiers {
  readonly #logger: Logger;
  readonly #startThread: () => Worker;
  readonly #threads: (HashThread | undefined)[];
  readonly #startAtBytes: number;
  readonly #open: OpenVerifiers;
  readonly #inline: PrefixVerifiers;
  /** Threads that died or were stopped and whose end is awaited at close. */
  readonly #ending = new Set<Promise<unknown>>();
  #nextId = 0;
  #lostCpuSeconds = 0;

  constructor(deps: PrefixVerifiersDeps, options: PrefixVerifiersOptions) {
    this.#logger = deps.logger;
    this.#startThread = deps.startThread ?? startHashThread;
    this.#startAtBytes = options.startAtBytes;
    this.#threads = Array.from({ length: options.threads }, () => undefined);
    this.#open = new OpenVerifiers(options.maxOpen);
    this.#inline = createInlinePrefixVerifiers({ maxOpen: options.maxOpen });
  }

  prepare(): void {
    if (this.#threads.every((thread) => thread === undefined)) this.#leastBusyThread();
  }

  get cpuSeconds(): number {
    const running = this.#threads.reduce((sum, thread) => sum + (thread?.cpuSeconds ?? 0), 0);
    return running + this.#lostCpuSeconds + this.#inline.cpuSeconds;
  }

  open(expected: Digest, source: PrefixSource): PrefixVerifier {
    const { path } = source;
    if (path === undefined) return this.#inline.open(expected, source);
    const id = this.#nextId++;
    let thread: HashThread | undefined;
    return this.#open.open(
      expected,
      (verifier) => {
        // The thread takes the file up when there is something worth waking it for; if it must start first, that takes a tenth of a
        // CPU second, which must not compete with the first bytes of a pull.
        const started = (): HashThread => {
          if (thread === undefined) {
            thread = this.#leastBusyThread();
            thread.open(id, verifier, path);
          }
          return thread;
        };
        return {
          advance: (endBytes) => {
            if (thread !== undefined || endBytes >= this.#startAtBytes)
              started().send({ type: 'advance', id, endBytes });
          },
          finish: (sizeBytes) => started().send({ type: 'finish', id, sizeBytes }),
          stop: () => thread?.send({ type: 'close', id }),
        };
      },
      () => thread?.forget(id),
    );
  }

  async close(): Promise<void> {
    this.#open.close();
    await this.#inline.close();
    for (const thread of this.#threads) thread?.stop();
    await Promise.all(this.#ending);
  }

  #leastBusyThread(): HashThread {
    let best = 0;
    for (let at = 1; at < this.#threads.length; at += 1) {
      if ((this.#threads[at]?.openCount ?? 0) < (this.#threads[best]?.openCount ?? 0)) best = at;
    }
    const running = this.#threads[best];
    if (running !== undefined) return running;
    const started: HashThread = new HashThread(this.#startThread(), (cause) => {
      this.#threads[best] = undefined;
      this.#lostCpuSeconds += started.cpuSeconds;
      if (cause !== undefined) this.#logger.warn({ error: cause }, 'hash thread lost');
    });
    this.#threads[best] = started;
    this.#ending.add(started.ended);
    void started.ended.then(() => this.#ending.delete(started.ended));
    return started;
  }
}

class HashThread {
  readonly #worker: Worker;
  readonly #verifiers = new Map<number, { verifier: TrackedVerifier; path: string }>();
  readonly #onEnd: (cause: Error | undefined) => void;
  readonly #ended = Promise.withResolvers<void>();
  #isStopping = false;
  #isLost = false;
  #cpuSeconds = 0;

  /** `onEnd` is called once; with a cause when nobody asked the thread to stop. */
  constructor(worker: Worker, onEnd: (cause: Error | undefined) => void) {
    this.#onEnd = onEnd;
    this.#worker = worker;
    this.#worker.on('message', (report: HashReport) => this.#receive(report));
    this.#worker.on('error', (error) => this.#lose(toError(error)));
    this.#worker.on('exit', (code) => {
      this.#lose(this.#isStopping ? undefined : new Error(`hash thread exited with code ${code}`));
      this.#ended.resolve();
    });
  }

  get openCount(): number {
    return this.#verifiers.size;
  }

  get cpuSeconds(): number {
    return this.#cpuSeconds;
  }

  /** Resolves when the thread is gone. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  open(id: number, verifier: TrackedVerifier, path: string): void {
    this.#verifiers.set(id, { verifier, path });
    this.send({ type: 'open', id, algorithm: digestAlgorithm(verifier.expected), path });
  }

  send(request: HashRequest): void {
    this.#worker.postMessage(request);
  }

  forget(id: number): void {
    this.#verifiers.delete(id);
  }

  stop(): void {
    this.#isStopping = true;
    void this.#worker.terminate();
  }

  #receive(report: HashReport): void {
    if (report.type !== 'failed') this.#cpuSeconds = report.cpuSeconds;
    const open = this.#verifiers.get(report.id);
    // A verifier closed here may still be reported on by messages under way.
    if (open === undefined) return;
    if (report.type === 'hashed') {
      open.verifier.hashed(report.hashedBytes);
    } else if (report.type === 'finished') {
      open.verifier.finished(parseDigest(`${digestAlgorithm(open.verifier.expected)}:${report.hex}`));
    } else {
      const details = { path: open.path, positionBytes: report.positionBytes };
      open.verifier.failed(new ContentError(report.code, `verifying failed: ${report.reason}`, { details }));
    }
  }

  #lose(cause: Error | undefined): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#onEnd(cause);
    for (const { verifier } of [...this.#verifiers.values()]) {
      verifier.failed(new ContentError('CONTENT_THREAD_LOST', 'the hash thread died while hashing', { cause }));
    }
  }
}
