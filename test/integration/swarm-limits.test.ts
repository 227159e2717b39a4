import { describe, expect, it } from 'vitest';
import { createHealth } from '../../src/health/conditions.ts';
import { systemClock, systemRandom } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { createOrigin } from '../../src/origin/create-origin.ts';
import { createMemoryOrigin } from '../../src/origin/memory/memory-origin.ts';
import { createMemoryStore } from '../../src/store/memory/memory-store.ts';
import type { SwarmOptions } from '../../src/swarm/options.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { startChaosRegistry } from '../support/chaos-registry.ts';
import { buildGeneratedBlob } from '../support/image-builder.ts';
import { originOptions } from '../support/origin-options.ts';
import { KiB, MiB, putBlob } from '../support/swarm-blobs.ts';
import { startSwarmFleet, testSwarmOptions } from '../support/swarm-fleet.ts';

/** A seed of a blob that no origin has any more, and nodes that take it, all under the same limits. */
async function startSeeded(takers: number, sizeBytes: number, swarm: Partial<SwarmOptions>) {
  const { bytes, request } = putBlob([], sizeBytes);
  const held = createMemoryStore({ clock: systemClock });
  await held.blobs.writeBlob(request.digest, bytes);
  const fleet = await startSwarmFleet(takers + 1, createMemoryOrigin(), {
    swarm,
    store: (index) => (index === 0 ? held : undefined),
  });
  const [seed, ...others] = fleet.nodes;
  await seed!.directory.announce([{ digest: request.digest, holding: 'complete' }], AbortSignal.timeout(10_000));
  return {
    request,
    seed: seed!,
    takers: others,
    async [Symbol.asyncDispose]() {
      await fleet[Symbol.asyncDispose]();
      await held[Symbol.asyncDispose]();
    },
  };
}

describe('a limit on what a node takes', () => {
  it('costs time and nothing else: no peer seems to stand still, and each byte comes once', async () => {
    const rate = 384 * KiB;
    await using fleet = await startSeeded(1, 1.5 * MiB, { downloadBytesPerSecond: rate });
    const { request, seed, takers } = fleet;
    const startedMs = performance.now();
    const [download] = takers[0]!.swarm.fetch([request]);
    await download!.done;
    // What comes last is paid for by what would come next.
    expect(performance.now() - startedMs).toBeGreaterThan(((request.sizeBytes - 512 * KiB) / rate - 0.2) * 1_000);
    const transfer = download!.transfer();
    expect(transfer).toMatchObject({ stalls: 0, hedges: 0, bytes: { peer: request.sizeBytes, origin: 0 } });
    const { ownRate = 0, ...others } = transfer.waitedMs;
    expect(ownRate).toBeGreaterThan(Object.values(others).reduce((sum, ms) => sum + ms, 0));
    expect(takers[0]!.swarm.peers().map(({ ban }) => ban)).toEqual([undefined]);
    expect(seed.swarm.peers().map(({ sentBytes }) => sentBytes)).toEqual([request.sizeBytes]);
  });
});

describe('a limit on what a node gives', () => {
  it('costs time and nothing else: the honest seed is neither banned nor given up, and no byte is lost', async () => {
    await using fleet = await startSeeded(2, MiB, {
      uploadBytesPerSecond: 256 * KiB,
      schedule: { ...testSwarmOptions.schedule, peerStallMs: 900 },
      patienceMs: 10_000,
    });
    const { request, seed, takers } = fleet;
    const downloads = takers.map(({ swarm }) => swarm.fetch([request])[0]!);
    await Promise.all(downloads.map(({ done }) => done));
    for (const download of downloads) expect(download.transfer()).toMatchObject({ stalls: 0, bytes: { origin: 0 } });
    for (const { swarm } of takers) expect(swarm.peers().map(({ ban }) => ban)).toEqual([undefined, undefined]);
    const given = [seed, ...takers].flatMap(({ swarm }) => swarm.peers().map(({ sentBytes }) => sentBytes));
    expect(given.reduce((sum, bytes) => sum + bytes)).toBe(2 * request.sizeBytes);
  });
});

describe('a limit on what is read at an origin', () => {
  it('does not have turns taken over as if the origin stood still', async () => {
    await using registry = await startChaosRegistry();
    const sizeBytes = 128 * KiB;
    const repository = { namespace: registry.host, name: 'library/demo' };
    const requests = Array.from({ length: 8 }, (_, seed) => {
      const blob = buildGeneratedBlob(seed, sizeBytes);
      registry.putBlob(repository.name, blob);
      return { digest: blob.digest, sizeBytes, repository };
    });
    const deps = {
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      metrics: noMetrics,
      health: createHealth(systemClock),
    };
    const limited = originOptions({ [registry.host]: { rateBytesPerSecond: 96 * KiB, parallelRequests: 8 } });
    await using first = createOrigin(deps, limited);
    await using second = createOrigin(deps, limited);
    await using fleet = await startSwarmFleet(2, first, {
      origin: (index) => (index === 0 ? first : second),
      swarm: { schedule: { ...testSwarmOptions.schedule, originStallMs: 1_600 } },
    });
    const downloads = fleet.nodes.flatMap(({ swarm }) => swarm.fetch(requests));
    await Promise.all(downloads.map(({ done }) => done));
    expect(registry.counters.blobBodyBytes / (requests.length * sizeBytes)).toBeLessThan(1.1);
  });
});
