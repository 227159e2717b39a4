import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { type DigestKey, digestKadKey, digestKey } from '../../../src/discovery/digest-key.ts';
import { type RootPublisherOptions, startRootPublisher } from '../../../src/discovery/kad/root-publisher.ts';
import type { RootRouting } from '../../../src/discovery/kad/root-routing.ts';
import { createDiscoveryMetrics } from '../../../src/discovery/metrics.ts';
import { seededRandom } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { createMemoryNetworkHub } from '../../../src/peer/memory/memory-network.ts';
import { noMetrics } from '../../../src/telemetry/metrics.ts';
import { testDigest, testPeer } from '../../support/discovery.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const hourMs = 3_600_000;
const options: RootPublisherOptions = {
  firstProvideMinMs: 0,
  firstProvideMaxMs: 0,
  reprovideMinMs: 18 * hourMs,
  reprovideMaxMs: 22 * hourMs,
  provideTimeoutMs: 10_000,
  retryMinMs: 10_000,
  retryMaxMs: 600_000,
  parallelProvides: 2,
  maxRoots: 100,
};
const keys = Array.from({ length: 20 }, (_, at) => digestKey(testDigest(at)));

class FakeKad {
  table: PeerId[] = [testPeer('a')];
  acknowledged = 3;
  hangs = false;
  readonly provided: { key: DigestKey; atMs: number }[] = [];
  readonly forgotten: DigestKey[] = [];
  readonly #clock: FakeClock;

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  peers = () => this.table;
  onChange = () => () => {};

  async provide(key: DigestKey, signal: AbortSignal): Promise<number> {
    this.provided.push({ key, atMs: this.#clock.nowMs() });
    if (this.hangs) await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    return this.acknowledged;
  }

  async *findProviders(_key: DigestKey, signal: AbortSignal): AsyncIterable<PeerId> {
    if (this.hangs) await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    yield testPeer('self');
    yield testPeer('provider');
  }

  async forget(key: DigestKey): Promise<void> {
    this.forgotten.push(key);
  }
}

let clock: FakeClock;
let kad: FakeKad;
let publisher: RootRouting & AsyncDisposable;
const { signal } = new AbortController();

beforeEach(async () => {
  clock = new FakeClock();
  kad = new FakeKad(clock);
  publisher = await start(options);
});

const start = (chosen: RootPublisherOptions) =>
  startRootPublisher(
    {
      network: createMemoryNetworkHub().join(testPeer('self')),
      kad,
      clock,
      random: seededRandom(1),
      logger: silentLogger,
      metrics: createDiscoveryMetrics(noMetrics),
    },
    chosen,
  );

afterEach(async () => {
  await publisher[Symbol.asyncDispose]();
  expect(clock.pending).toBe(0);
});

describe('root publisher', () => {
  it('publishes in the order of the key space, and again after 18 to 22 hours', async () => {
    for (const key of keys) publisher.publish(key);
    await clock.advanceAsync(0);
    const places = kad.provided.map(({ key }) => Buffer.from(digestKadKey(key)).toString('hex'));
    expect(places).toEqual(places.toSorted());
    expect(places).toHaveLength(keys.length);
    await clock.advanceAsync(17.9 * hourMs);
    expect(kad.provided).toHaveLength(keys.length);
    await clock.advanceAsync(4.2 * hourMs);
    expect(kad.provided).toHaveLength(2 * keys.length);
    expect(new Set(kad.provided.slice(keys.length).map(({ atMs }) => atMs)).size).toBeGreaterThan(10);
  });

  it('publishes what is new after a time of its own, which no pull falls into', async () => {
    await publisher[Symbol.asyncDispose]();
    publisher = await start({ ...options, firstProvideMinMs: 60_000, firstProvideMaxMs: 180_000 });
    for (const key of keys) publisher.publish(key);
    await clock.advanceAsync(59_999);
    expect(kad.provided).toEqual([]);
    await clock.advanceAsync(120_001);
    expect(kad.provided).toHaveLength(keys.length);
    expect(new Set(kad.provided.map(({ atMs }) => atMs)).size).toBeGreaterThan(10);
  });

  it('tries again soon what nobody took, at growing intervals', async () => {
    kad.acknowledged = 0;
    publisher.publish(keys[0]!);
    await clock.advanceAsync(hourMs);
    const tries = kad.provided.length;
    expect(tries).toBeGreaterThan(6);
    expect(tries).toBeLessThan(25);
    kad.acknowledged = 1;
    await clock.advanceAsync(hourMs);
    expect(kad.provided).toHaveLength(tries + 1);
  });

  it('does not ask while it knows nobody', async () => {
    kad.table = [];
    publisher.publish(keys[0]!);
    await clock.advanceAsync(30_000);
    expect(kad.provided).toEqual([]);
    expect(await publisher.findProviders(keys[0]!, 300, signal)).toEqual([]);
    kad.table = [testPeer('a')];
    await clock.advanceAsync(600_000);
    expect(kad.provided).toHaveLength(1);
  });

  it('ends a publication that hangs', async () => {
    kad.hangs = true;
    publisher.publish(keys[0]!);
    await clock.advanceAsync(10_000);
    kad.hangs = false;
    await clock.advanceAsync(20_000);
    expect(kad.provided).toHaveLength(2);
  });

  it('forgets what is cancelled and takes no more than it may', async () => {
    for (let at = 0; at < 200; at += 1) publisher.publish(digestKey(testDigest(at)));
    publisher.cancel(keys[0]!);
    await clock.advanceAsync(0);
    expect(kad.provided).toHaveLength(99);
    expect(kad.forgotten).toEqual([keys[0]]);
  });

  it('finds a provider other than itself, within the time', async () => {
    expect(await publisher.findProviders(keys[0]!, 300, signal)).toEqual([testPeer('provider')]);
    kad.hangs = true;
    const search = publisher.findProviders(keys[0]!, 300, signal);
    await clock.advanceAsync(300);
    expect(await search).toEqual([]);
  });

  it('knows whether kad-dht reaches further than the connections', () => {
    expect(publisher.reachesFurther()).toBe(true);
    kad.table = [];
    expect(publisher.reachesFurther()).toBe(false);
  });
});
