import { type Clock, delay, type Random } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { Semaphore } from '../lib/semaphore.ts';
import { TokenBucket } from '../lib/token-bucket.ts';
import { Breaker, type BreakerState } from './breaker.ts';
import { type Deadline, startDeadline } from './deadline.ts';
import { OriginError } from './errors.ts';
import type { HttpResponse } from './http/http-client.ts';
import type { OriginMetrics, OriginOperation } from './metrics.ts';
import type { OriginStatus } from './origin.ts';
import type { OriginSettings } from './origin-options.ts';
import type { RegistryClient, RegistryRequest } from './registry-client.ts';
import { findRetryWaitMs, maxInlineRetryAfterMs } from './retry.ts';

export interface SessionDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: OriginMetrics;
  readonly client: RegistryClient;
  /** Called whenever the breaker may have opened or closed. */
  readonly onBreaker: () => void;
}

export interface SessionOptions {
  readonly namespace: string;
  readonly url: string;
  readonly settings: OriginSettings;
}

export interface SessionRequest extends RegistryRequest {
  readonly operation: OriginOperation;
  /** Called before each further attempt with the number of those that failed. */
  readonly onRetry?: ((failed: number) => void) | undefined;
}

// A 429 that names no time: long enough to be polite, short enough not to cost a pull.
const unnamedLimitMs = 5_000;
// Docker Hub names up to six hours; asking again every ten minutes costs nothing and notices a raised limit.
const maxLimitMs = 10 * 60_000;

/** Everything that holds for one origin as a whole: slots, rate, breaker, deadline, retries, counters. */
export class OriginSession {
  readonly #deps: SessionDeps;
  readonly #options: SessionOptions;
  readonly #requestSlots: Semaphore;
  readonly #bodySlots: Semaphore;
  readonly #bucket: TokenBucket;
  readonly #breaker: Breaker;
  #requests = 0;
  #failures = 0;
  #receivedBytes = 0;
  #lastError: string | undefined;

  constructor(deps: SessionDeps, options: SessionOptions) {
    const { parallelRequests, rateBytesPerSecond, breakerFailures, breakerPauseMs } = options.settings;
    this.#deps = deps;
    this.#options = options;
    this.#requestSlots = new Semaphore(parallelRequests);
    this.#bodySlots = new Semaphore(parallelRequests);
    this.#bucket = new TokenBucket(deps.clock, { rateBytesPerSecond });
    this.#breaker = new Breaker(deps.clock, { failures: breakerFailures, pauseMs: breakerPauseMs });
  }

  get isIdle(): boolean {
    return this.#requestSlots.held === 0 && this.#bodySlots.held === 0;
  }

  get breakerState(): BreakerState {
    return this.#breaker.state;
  }

  status(): OriginStatus {
    const { state, retryAfterMs } = this.#breaker;
    return {
      namespace: this.#options.namespace,
      url: this.#options.url,
      state: state === 'closed' ? 'ok' : state === 'limited' ? 'limited' : 'open',
      requests: this.#requests,
      failures: this.#failures,
      receivedBytes: this.#receivedBytes,
      ...(retryAfterMs > 0 ? { retryAtMs: this.#deps.clock.wallMs() + retryAfterMs } : {}),
      ...(this.#lastError === undefined ? {} : { lastError: this.#lastError }),
    };
  }

  /** Runs a request whose answer is read whole, under a slot and the deadline. */
  async exchange<Value>(
    request: SessionRequest,
    signal: AbortSignal,
    read: (response: HttpResponse) => Promise<Value>,
  ): Promise<Value> {
    using deadline = this.#startDeadline(signal);
    const release = await this.#requestSlots.acquire(deadline.signal);
    try {
      return await this.#runWithRetries(request, deadline.signal, deadline, async (response) => {
        try {
          return await read(response);
        } finally {
          response.body.cancel();
        }
      });
    } finally {
      release();
    }
  }

  /** Waits for the right to read a blob's body; the returned function gives it back. */
  acquireBody(signal: AbortSignal): Promise<() => void> {
    return this.#bodySlots.acquire(signal);
  }

  /**
   * Runs a request whose body the caller reads under a body slot. Deadline and signal cover the head alone: from then on the
   * caller cancels the body, so that nothing stays hooked to a signal that lives as long as the program.
   */
  async open(request: SessionRequest, signal: AbortSignal): Promise<HttpResponse> {
    using deadline = this.#startDeadline(signal);
    return await this.#runWithRetries(request, deadline.signal, deadline, async (response) => response);
  }

  get stepBytes(): number {
    return this.#bucket.stepBytes;
  }

  /** Counts bytes of a body and waits until the rate lets them pass. */
  async pass(bytes: number, signal: AbortSignal): Promise<void> {
    this.#receivedBytes += bytes;
    this.#deps.metrics.receivedBytes.add(bytes);
    if (!this.#bucket.isUnlimited) await this.#bucket.take(bytes, signal);
  }

  /** Waits before a body is continued, longer with each attempt in vain; a cut counts against the origin like a missing answer. */
  async beforeResume(attempt: number, signal: AbortSignal): Promise<void> {
    this.#breaker.fail();
    this.#failures += 1;
    this.#deps.metrics.resumes.add(1);
    this.#deps.onBreaker();
    await delay(this.#deps.clock, this.#deps.random.next() * 100 * 2 ** attempt, signal);
  }

  #startDeadline(signal: AbortSignal): Deadline {
    const { namespace, settings } = this.#options;
    return startDeadline(this.#deps.clock, signal, settings.timeouts.deadlineMs, () => {
      const details = { namespace, stage: 'deadline' };
      return new OriginError('ORIGIN_UNAVAILABLE', 'the origin did not answer in time', { details });
    });
  }

  async #runWithRetries<Value>(
    request: SessionRequest,
    signal: AbortSignal,
    deadline: Deadline,
    read: (response: HttpResponse) => Promise<Value>,
  ): Promise<Value> {
    for (let attempts = 1; ; attempts += 1) {
      await this.#passBreaker(signal, deadline);
      try {
        return await this.#runOnce(request, signal, read);
      } catch (error) {
        if (!(error instanceof OriginError)) throw error;
        const retry = { attempts, retries: this.#options.settings.retries, remainingMs: deadline.remainingMs };
        const waitMs = findRetryWaitMs(error, retry, this.#deps.random);
        if (waitMs === undefined) throw error;
        this.#deps.logger.debug({ code: error.code, attempts, waitMs }, 'origin request is sent again');
        this.#deps.metrics.retries.add(1, { operation: request.operation });
        request.onRetry?.(attempts);
        await delay(this.#deps.clock, waitMs, signal);
      }
    }
  }

  /** Waits out a short 429; throws when the origin is to be left alone for longer. */
  async #passBreaker(signal: AbortSignal, deadline: Deadline): Promise<void> {
    for (;;) {
      const admission = this.#breaker.admit();
      if (admission.isAdmitted) return;
      const { reason, retryAfterMs } = admission;
      if (reason === 'open' || retryAfterMs > Math.min(maxInlineRetryAfterMs, deadline.remainingMs)) {
        const details = { namespace: this.#options.namespace, retryAfterMs };
        throw reason === 'open'
          ? new OriginError('ORIGIN_BREAKER_OPEN', 'the origin failed repeatedly and is left alone for a while', {
              details,
            })
          : new OriginError('ORIGIN_RATE_LIMITED', 'the origin asked to be left alone for a while', { details });
      }
      // All who wait would go at the same moment: a tenth more at random spreads them.
      await delay(this.#deps.clock, retryAfterMs * (1 + this.#deps.random.next() / 10), signal);
    }
  }

  async #runOnce<Value>(
    request: SessionRequest,
    signal: AbortSignal,
    read: (response: HttpResponse) => Promise<Value>,
  ): Promise<Value> {
    const { metrics, clock, client } = this.#deps;
    const { operation } = request;
    const startedMs = clock.nowMs();
    this.#requests += 1;
    try {
      const response = await client.send(request, signal);
      metrics.answerSeconds.observe((clock.nowMs() - startedMs) / 1000, { operation });
      const value = await read(response);
      this.#breaker.succeed();
      metrics.requests.add(1, { operation, outcome: 'ok' });
      return value;
    } catch (error) {
      // The caller's own abort is nobody's failure; the deadline's is the origin's.
      if (error instanceof OriginError) this.#countFailure(error, operation);
      else this.#breaker.abandon();
      throw error;
    } finally {
      this.#deps.onBreaker();
    }
  }

  #countFailure(error: OriginError, operation: OriginOperation): void {
    const { code, details } = error;
    this.#deps.metrics.requests.add(1, { operation, outcome: code });
    if (code === 'ORIGIN_RATE_LIMITED') {
      const askedMs = typeof details['retryAfterMs'] === 'number' ? details['retryAfterMs'] : unnamedLimitMs;
      this.#breaker.limit(Math.min(askedMs, maxLimitMs));
    } else if (code === 'ORIGIN_UNAVAILABLE' || code === 'ORIGIN_CUT') {
      this.#breaker.fail();
    } else {
      this.#breaker.succeed();
    }
    if (code === 'ORIGIN_NOT_FOUND') return;
    this.#failures += 1;
    this.#lastError = error.message;
  }
}
