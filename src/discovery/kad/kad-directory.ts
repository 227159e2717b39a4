import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock, Random } from '../../lib/clock.ts';
import { Emitter } from '../../lib/emitter.ts';
import type { Logger } from '../../lib/logger.ts';
import { TaskGroup } from '../../lib/task-group.ts';
import type { Digest } from '../../oci/digest.ts';
import type { PeerNetwork } from '../../peer/peer-network.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { type DigestKey, digestKadKey, digestKey, digestOfKey } from '../digest-key.ts';
import type { Announcement, Directory, Provider } from '../directory.ts';
import type { FoundFor } from '../directory-protocol.ts';
import { DiscoveryError } from '../errors.ts';
import { createDiscoveryMetrics, type DiscoveryMetrics } from '../metrics.ts';
import { Tracker } from '../tracker.ts';
import { AnnouncedSet, Outgoing } from './announced-set.ts';
import { Gathering, type GatheringOptions } from './gathering.ts';
import type { RootRouting } from './root-routing.ts';
import { TrackerPool } from './tracker-pool.ts';
import type { TrackerRouting } from './tracker-routing.ts';
import { TrackerService, type TrackerServiceOptions } from './tracker-service.ts';
import type { TrackerShareOptions } from './tracker-share.ts';

export interface KadDirectoryDeps {
  readonly network: PeerNetwork;
  readonly routing: TrackerRouting;
  /** kad-dht's own provider records; without it roots are only in the directory. */
  readonly roots?: RootRouting;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface KadDirectoryOptions extends TrackerServiceOptions, TrackerShareOptions, GatheringOptions {
  /** Trackers of a digest. */
  readonly replicas: number;
  /** Well below `leaseMs`: two refreshes may fail without losing the lease. */
  readonly refreshIntervalMs: number;
  /** Changes of membership are gathered for so long before digests move to their new trackers. */
  readonly reshardDelayMs: number;
  /** How long a stop waits for trackers to forget this node. */
  readonly leaveTimeoutMs: number;
  /** Bounds the search for a root that no tracker knows. */
  readonly rootLookupTimeoutMs: number;
  /** Providers remembered per fetched digest, so that each is told once. */
  readonly maxToldPerDigest: number;
}

/** Digests worked on in one turn of the event loop: about 5 ms. */
const turnSize = 1000;
/** A `find` of more digests than this is about layers, not about roots. */
const maxRootLookups = 4;

/** Starts the directory: serves as a tracker at once, announces to others as they become known. */
export async function startKadDirectory(
  deps: KadDirectoryDeps,
  options: KadDirectoryOptions,
): Promise<Directory & AsyncDisposable> {
  const directory = new KadDirectory(deps, options);
  directory.start();
  return directory;
}

class KadDirectory implements Directory, AsyncDisposable {
  readonly #deps: KadDirectoryDeps;
  readonly #options: KadDirectoryOptions;
  readonly #self: PeerId;
  readonly #metrics: DiscoveryMetrics;
  readonly #tasks: TaskGroup;
  readonly #arrivals = new Emitter<{ readonly digest: Digest; readonly provider: Provider }>();
  readonly #service: TrackerService;
  readonly #pool: TrackerPool;
  readonly #announced: AnnouncedSet;
  #isStopped = false;
  #isResharding = false;
  #cancelReshard: (() => void) | undefined;
  #cancelRefresh: (() => void) | undefined;
  #stopWatching: readonly (() => void)[] = [];

  constructor(deps: KadDirectoryDeps, options: KadDirectoryOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#self = deps.network.self;
    this.#metrics = createDiscoveryMetrics(deps.metrics);
    this.#tasks = new TaskGroup((error) => deps.logger.error({ err: error }, 'directory task failed'));
    const parts = { ...deps, metrics: this.#metrics, tasks: this.#tasks };
    const onPush = (found: readonly FoundFor[]) => this.#takePush(found);
    this.#service = new TrackerService({ ...parts, tracker: new Tracker(deps.random, options), onPush }, options);
    this.#pool = new TrackerPool(
      this.#service,
      {
        ...parts,
        onPush,
        holdingOf: (key) => this.#announced.holdingOf(key),
        onFound: (keys, found) => {
          for (const { index, providers } of found) this.#tell(keys[index], providers);
        },
        onUnreachable: (peer) => deps.routing.markUnreachable(peer),
      },
      options,
    );
    this.#announced = new AnnouncedSet(this.#pool, options.maxToldPerDigest);
  }

  start(): void {
    this.#service.start();
    this.#stopWatching = [
      this.#deps.routing.onChange(() => this.#reshardSoon()),
      this.#deps.network.onPeerChange(({ kind, peer }) => {
        if (kind === 'connected') this.#pool.peerConnected(peer);
      }),
    ];
    this.#scheduleRefresh();
  }

  async announce(entries: readonly Announcement[], signal: AbortSignal): Promise<Map<Digest, readonly Provider[]>> {
    this.#throwIfStopped(signal);
    const startedAtMs = this.#deps.clock.nowMs();
    const keyed = entries.map(({ digest, holding }) => ({ digest, key: digestKey(digest), holding }));
    const gathering = this.#gather(keyed.map((entry) => entry.key));
    for (let at = 0; at < keyed.length; at += turnSize) {
      if (at > 0) await nextTurn(undefined, { signal });
      this.#throwIfStopped(signal);
      const announcing = new Outgoing();
      const withdrawing = new Outgoing();
      for (const { key, holding } of keyed.slice(at, at + turnSize)) {
        const trackers = this.#trackersOf(key);
        const { left } = this.#announced.place(key, holding, trackers);
        for (const [order, peer] of trackers.entries()) announcing.add(peer, { key, holding, order });
        for (const peer of left) withdrawing.add(peer, { key, holding, order: 0 });
      }
      this.#send('announce', announcing, gathering);
      this.#withdrawFrom(withdrawing);
    }
    this.#metrics.announced.set(this.#announced.size);
    const found = await gathering.finish(this.#deps.clock, this.#options, signal);
    this.#metrics.answerSeconds.observe((this.#deps.clock.nowMs() - startedAtMs) / 1000, { kind: 'announce' });
    return new Map(keyed.map(({ digest, key }) => [digest, found.get(key) ?? []]));
  }

  async find(digests: readonly Digest[], signal: AbortSignal): Promise<Map<Digest, readonly Provider[]>> {
    this.#throwIfStopped(signal);
    const startedAtMs = this.#deps.clock.nowMs();
    const keyed = digests.map((digest) => ({ digest, key: digestKey(digest) }));
    const gathering = this.#gather(keyed.map((entry) => entry.key));
    for (let at = 0; at < keyed.length; at += turnSize) {
      if (at > 0) await nextTurn(undefined, { signal });
      const asking = new Outgoing();
      for (const { key } of keyed.slice(at, at + turnSize)) {
        for (const [order, peer] of this.#trackersOf(key).entries()) {
          asking.add(peer, { key, holding: 'fetching', order });
        }
      }
      this.#send('find', asking, gathering);
    }
    const found = await gathering.finish(this.#deps.clock, this.#options, signal);
    const missing = keyed.filter(({ key }) => !found.has(key));
    if (missing.length <= maxRootLookups) {
      await Promise.all(
        missing.map(async ({ key }) => found.set(key, await this.#findRoot(key, gathering.isPartial, signal))),
      );
    }
    this.#metrics.answerSeconds.observe((this.#deps.clock.nowMs() - startedAtMs) / 1000, { kind: 'find' });
    return new Map(keyed.map(({ digest, key }) => [digest, found.get(key) ?? []]));
  }

  async withdraw(digests: readonly Digest[], signal: AbortSignal): Promise<void> {
    this.#throwIfStopped(signal);
    const keys = digests.map((digest) => digestKey(digest));
    const gathering = this.#gather(keys);
    const withdrawing = new Outgoing();
    for (const key of keys) {
      const holding = this.#announced.holdingOf(key);
      if (holding === undefined) continue;
      this.#deps.roots?.cancel(key);
      for (const peer of this.#announced.remove(key)) withdrawing.add(peer, { key, holding, order: 0 });
    }
    this.#metrics.announced.set(this.#announced.size);
    this.#send('withdraw', withdrawing, gathering);
    await gathering.finish(this.#deps.clock, this.#options, signal);
  }

  onProvider(listener: (digest: Digest, provider: Provider) => void): () => void {
    return this.#arrivals.on(({ digest, provider }) => listener(digest, provider));
  }

  publishRoot(digest: Digest): void {
    if (!this.#isStopped) this.#deps.roots?.publish(digestKey(digest));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    for (const stop of this.#stopWatching) stop();
    this.#cancelReshard?.();
    this.#cancelRefresh?.();
    await new Promise<void>((resolve) => {
      const cancel = this.#deps.clock.schedule(this.#options.leaveTimeoutMs, resolve);
      void this.#pool.leave().finally(() => {
        cancel();
        resolve();
      });
    });
    this.#service.stop();
    this.#pool.close();
    await this.#tasks.stop();
  }

  #throwIfStopped(signal: AbortSignal): void {
    signal.throwIfAborted();
    if (this.#isStopped) throw new DiscoveryError('DISCOVERY_STOPPED', 'directory has stopped');
  }

  #trackersOf(key: DigestKey): readonly PeerId[] {
    return this.#deps.routing.closestPeers(digestKadKey(key), this.#options.replicas);
  }

  #gather(keys: Iterable<DigestKey>): Gathering {
    return new Gathering(this.#self, keys, (key, providers) => this.#tell(key, providers));
  }

  #send(kind: 'announce' | 'find' | 'withdraw', outgoing: Outgoing, gathering: Gathering): void {
    for (const { tracker, assignments, batch } of outgoing.batches()) {
      const message =
        kind === 'announce'
          ? ({ kind, entries: assignments.map(({ key, holding }) => ({ key, holding })) } as const)
          : ({ kind, keys: batch.keys } as const);
      gathering.add(batch, this.#pool.ask(tracker, message));
    }
  }

  /** Takes records back from trackers that no longer have to do with them, if they are there at all. */
  #withdrawFrom(outgoing: Outgoing): void {
    const { network } = this.#deps;
    for (const { tracker, batch } of outgoing.batches()) {
      if (tracker !== this.#self && network.findPeer(tracker) === undefined) continue;
      // A failure is repaired by the share, or ends with the connection.
      this.#pool.ask(tracker, { kind: 'withdraw', keys: batch.keys }).catch(() => {});
    }
  }

  async #findRoot(key: DigestKey, isPartial: boolean, signal: AbortSignal): Promise<Provider[]> {
    const { roots } = this.#deps;
    // Every tracker has answered and everyone is connected: kad-dht cannot know more.
    if (roots === undefined || !(isPartial || roots.reachesFurther())) return [];
    const peers = await roots.findProviders(key, this.#options.rootLookupTimeoutMs, signal);
    return peers
      .filter((peer) => peer !== this.#self)
      .map((peer, rank): Provider => ({ peer, holding: 'complete', rank }));
  }

  #takePush(found: readonly FoundFor[]): void {
    for (const { key, providers } of found) {
      this.#metrics.pushes.add(providers.length, { direction: 'in' });
      this.#tell(key, providers);
    }
  }

  #tell(key: DigestKey | undefined, providers: readonly Provider[]): void {
    if (key === undefined) return;
    const untold = this.#announced.takeUntold(key, this.#self, providers);
    if (untold.length === 0) return;
    const digest = digestOfKey(key);
    for (const provider of untold) this.#arrivals.emit({ digest, provider });
  }

  #reshardSoon(): void {
    if (this.#isStopped) return;
    this.#cancelReshard ??= this.#deps.clock.schedule(this.#options.reshardDelayMs, () => {
      this.#cancelReshard = undefined;
      if (this.#isResharding) {
        this.#reshardSoon();
        return;
      }
      this.#isResharding = true;
      this.#tasks.run(async (signal) => {
        try {
          await this.#reshard(signal);
        } finally {
          this.#isResharding = false;
        }
      });
    });
  }

  /** Moves every digest whose trackers have changed; the rest is untouched. */
  async #reshard(signal: AbortSignal): Promise<void> {
    let announcing = new Outgoing();
    let withdrawing = new Outgoing();
    const flush = () => {
      // Nobody waits: what the new trackers know reaches the fetches that run.
      this.#send('announce', announcing, this.#lateGathering());
      this.#withdrawFrom(withdrawing);
      announcing = new Outgoing();
      withdrawing = new Outgoing();
    };
    let count = 0;
    for (const key of this.#announced.keys()) {
      const holding = this.#announced.holdingOf(key);
      if (holding === undefined) continue;
      const { joined, left } = this.#announced.place(key, holding, this.#trackersOf(key));
      for (const peer of joined) announcing.add(peer, { key, holding, order: 0 });
      for (const peer of left) withdrawing.add(peer, { key, holding, order: 0 });
      count += 1;
      if (count % turnSize !== 0) continue;
      flush();
      await nextTurn(undefined, { signal });
    }
    flush();
    this.#pool.dropIdle();
  }

  #lateGathering(): Gathering {
    const gathering = this.#gather([]);
    gathering.endNow();
    return gathering;
  }

  #scheduleRefresh(): void {
    const { clock, random } = this.#deps;
    // Jitter, so that a fleet started at once does not refresh at once for ever.
    const waitMs = this.#options.refreshIntervalMs * (0.75 + random.next() / 4);
    this.#cancelRefresh = clock.schedule(waitMs, () => {
      this.#pool.refresh();
      this.#scheduleRefresh();
    });
  }
}
