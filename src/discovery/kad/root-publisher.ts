import type { PeerId } from '../../content/peer-id.ts';
import { type Clock, delay, type Random } from '../../lib/clock.ts';
import { isAbort } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import { TaskGroup } from '../../lib/task-group.ts';
import type { PeerNetwork } from '../../peer/peer-network.ts';
import { type DigestKey, digestKadKey } from '../digest-key.ts';
import type { DiscoveryMetrics } from '../metrics.ts';
import type { KadService } from './kad-service.ts';
import type { RootRouting } from './root-routing.ts';

export interface RootPublisherDeps {
  readonly network: PeerNetwork;
  readonly kad: Omit<KadService, 'factory'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: DiscoveryMetrics;
}

export interface RootPublisherOptions {
  /** A root is published again after a time drawn evenly between the two; records live 48 h. */
  readonly reprovideMinMs: number;
  readonly reprovideMaxMs: number;
  /**
   * A new root is published after a time drawn evenly between the two: the directory knows it at once, and the first pull of an image by a
   * fleet is no moment for every node to query the network.
   */
  readonly firstProvideMinMs: number;
  readonly firstProvideMaxMs: number;
  readonly provideTimeoutMs: number;
  /** Wait before a root that nobody took is tried again, doubled up to the second. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  readonly parallelProvides: number;
  readonly maxRoots: number;
}

interface Root {
  readonly key: DigestKey;
  /** Place in the key space as hex, to sort by. */
  readonly place: string;
  dueAtMs: number;
  failures: number;
}

/** Starts publishing image roots through kad-dht; nothing is sent before the first `publish`. */
export async function startRootPublisher(
  deps: RootPublisherDeps,
  options: RootPublisherOptions,
): Promise<RootRouting & AsyncDisposable> {
  const publisher = new RootPublisher(deps, options);
  publisher.start();
  return publisher;
}

/**
 * Publishes roots in the order of the key space, so that neighbours in time ask neighbours in the network, a few at a time, and
 * spreads the repetitions over hours.
 */
class RootPublisher implements RootRouting, AsyncDisposable {
  readonly #deps: RootPublisherDeps;
  readonly #options: RootPublisherOptions;
  readonly #roots = new Map<DigestKey, Root>();
  readonly #tasks: TaskGroup;
  #wake = Promise.withResolvers<void>();

  constructor(deps: RootPublisherDeps, options: RootPublisherOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#tasks = new TaskGroup((error) => deps.logger.error({ err: error }, 'publishing of roots failed'));
  }

  start(): void {
    this.#tasks.run((signal) => this.#run(signal));
  }

  publish(key: DigestKey): void {
    if (this.#roots.has(key)) return;
    if (this.#roots.size >= this.#options.maxRoots) {
      this.#deps.metrics.provides.add(1, { result: 'refused' });
      return;
    }
    const place = Buffer.from(digestKadKey(key)).toString('hex');
    const { firstProvideMinMs, firstProvideMaxMs } = this.#options;
    const waitMs = firstProvideMinMs + this.#deps.random.next() * (firstProvideMaxMs - firstProvideMinMs);
    this.#roots.set(key, { key, place, dueAtMs: this.#deps.clock.nowMs() + waitMs, failures: 0 });
    this.#deps.metrics.roots.set(this.#roots.size);
    this.#wake.resolve();
  }

  cancel(key: DigestKey): void {
    if (!this.#roots.delete(key)) return;
    this.#deps.metrics.roots.set(this.#roots.size);
    this.#tasks.run((signal) => this.#deps.kad.forget(key, signal));
  }

  async findProviders(key: DigestKey, timeoutMs: number, signal: AbortSignal): Promise<readonly PeerId[]> {
    const { kad, network } = this.#deps;
    // With nobody in the table a query hangs until its signal.
    if (kad.peers().length === 0) return [];
    try {
      return await this.#within(timeoutMs, signal, async (bounded) => {
        for await (const peer of kad.findProviders(key, bounded)) if (peer !== network.self) return [peer];
        return [];
      });
    } catch (error) {
      signal.throwIfAborted();
      if (!isAbort(error)) this.#deps.logger.debug({ err: error }, 'kad-dht search failed');
      return [];
    }
  }

  reachesFurther(): boolean {
    return this.#deps.kad.peers().some((peer) => this.#deps.network.findPeer(peer) === undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tasks.stop();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    while (!signal.aborted) {
      const nowMs = clock.nowMs();
      const due = [...this.#roots.values()]
        .filter((root) => root.dueAtMs <= nowMs)
        .sort((left, right) => (left.place < right.place ? -1 : 1))
        .values();
      const worker = async () => {
        for (const root of due) await this.#publishOne(root, signal);
      };
      await Promise.all(Array.from({ length: this.#options.parallelProvides }, worker));
      await this.#waitForDue(signal);
    }
  }

  async #waitForDue(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    const nowMs = clock.nowMs();
    let dueAtMs = nowMs + this.#options.reprovideMinMs;
    for (const root of this.#roots.values()) dueAtMs = Math.min(dueAtMs, root.dueAtMs);
    if (dueAtMs <= nowMs) return;
    const woken = new AbortController();
    const waiting = delay(clock, dueAtMs - nowMs, AbortSignal.any([signal, woken.signal])).catch(() => {});
    await Promise.race([waiting, this.#wake.promise]);
    woken.abort();
    this.#wake = Promise.withResolvers();
  }

  async #publishOne(root: Root, signal: AbortSignal): Promise<void> {
    if (this.#roots.get(root.key) !== root) return;
    const { kad, clock, random, logger, metrics } = this.#deps;
    const { reprovideMinMs, reprovideMaxMs, retryMinMs, retryMaxMs, provideTimeoutMs } = this.#options;
    let acknowledged = 0;
    try {
      if (kad.peers().length > 0) {
        acknowledged = await this.#within(provideTimeoutMs, signal, (bounded) => kad.provide(root.key, bounded));
      }
    } catch (error) {
      signal.throwIfAborted();
      logger.debug({ err: error }, 'root could not be published');
    }
    metrics.provides.add(1, { result: acknowledged > 0 ? 'ok' : 'failed' });
    if (acknowledged > 0) {
      root.failures = 0;
      root.dueAtMs = clock.nowMs() + reprovideMinMs + random.next() * (reprovideMaxMs - reprovideMinMs);
    } else {
      const ceilingMs = Math.min(retryMaxMs, retryMinMs * 2 ** root.failures);
      root.failures += 1;
      root.dueAtMs = clock.nowMs() + ceilingMs * (0.5 + random.next() / 2);
    }
  }

  async #within<Value>(
    timeoutMs: number,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<Value>,
  ): Promise<Value> {
    const deadline = new AbortController();
    const cancel = this.#deps.clock.schedule(timeoutMs, () =>
      deadline.abort(new DOMException('took too long', 'AbortError')),
    );
    try {
      return await work(AbortSignal.any([signal, deadline.signal]));
    } finally {
      cancel();
    }
  }
}
