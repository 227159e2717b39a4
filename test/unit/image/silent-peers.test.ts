import { afterEach, describe, expect, it } from 'vitest';
import { tagProtocol } from '../../../src/discovery/tags/tag-messages.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { buildArtifact } from '../../support/image-builder.ts';
import {
  createMemoryFleet,
  eventually,
  type MemoryFleet,
  type MemoryNode,
  pushImage,
} from '../../support/image-fleet.ts';

const repository = { namespace: 'docker.io', name: 'library/demo' };
const { signal } = new AbortController();
const images = [1, 2, 3].map((seed) => buildArtifact({ seed, sizeBytes: 1000 }));
const digests = images.map(({ digest }) => digest);
const headStartMs = 1_000;
const fleetWaitMs = 400;

describe('a manifest that a silent peer has announced', () => {
  let fleet: MemoryFleet;
  let clock: FakeClock;
  let gate: Promise<void> | undefined;
  afterEach(() => fleet[Symbol.asyncDispose]());
  const fetched = () => fleet.origin.calls.filter(({ operation }) => operation === 'fetchManifest').length;

  const start = () => {
    clock = new FakeClock();
    gate = undefined;
    fleet = createMemoryFleet({ clock, origin: { beforeCall: async () => await gate } });
    for (const image of images) pushImage(fleet.origin, repository, image);
  };

  /** A peer that takes every question and answers none. */
  const joinSilent = async (holding: 'complete' | 'fetching') => {
    const { peer, network } = await fleet.join({
      deps: ({ tagHints }) => ({ tagHints: { ...tagHints, serve: () => () => {} } }),
    });
    network.handle(tagProtocol, (channel) => {
      void (async () => {
        for await (const _ of channel.messages());
      })().catch(() => {});
    });
    await fleet.directory.join(peer).announce(
      digests.map((digest) => ({ digest, holding })),
      signal,
    );
  };

  /** Moves the time until the manifest is here and returns how long that took. */
  const timeToOpen = async (node: MemoryNode, digest: Digest): Promise<number> => {
    const startedMs = clock.nowMs();
    let isOver = false;
    const opening = node.images.openManifest(repository, digest, signal).finally(() => {
      isOver = true;
    });
    opening.catch(() => {});
    for (let steps = 0; !isOver && steps < 2_000; steps += 1) await clock.advanceAsync(10);
    await opening;
    return clock.nowMs() - startedMs;
  };

  it.each([
    ['complete', headStartMs],
    ['fetching', headStartMs + fleetWaitMs],
  ] as const)(
    'waits a moment for a silent one with "%s", and for the next manifest not at all',
    async (holding, mostMs) => {
      start();
      await joinSilent(holding);
      const node = await fleet.join({ images: { fleetWaitMs, prefetch: false } });
      const firstMs = await timeToOpen(node, digests[0]!);
      expect(firstMs).toBeGreaterThanOrEqual(mostMs);
      expect(firstMs).toBeLessThan(mostMs + 100);
      expect(await timeToOpen(node, digests[1]!)).toBeLessThan(100);
      expect(fetched()).toBe(2);
      // After a minute it is given another chance.
      await clock.advanceAsync(61_000);
      expect(await timeToOpen(node, digests[2]!)).toBeGreaterThanOrEqual(mostMs);
    },
  );

  it('is taken from the one that really fetches it, without asking the origin twice', async () => {
    start();
    await joinSilent('complete');
    const images = { fleetWaitMs: 3_000, prefetch: false };
    const [first, second] = [await fleet.join({ images }), await fleet.join({ images })];
    const open = Promise.withResolvers<void>();
    gate = open.promise;
    const opening = first.images.openManifest(repository, digests[0]!, signal);
    await clock.advanceAsync(headStartMs + 50);
    await eventually(() => fetched() === 1);
    const behind = second.images.openManifest(repository, digests[0]!, signal);
    await clock.advanceAsync(headStartMs - 200);
    open.resolve();
    await Promise.all([opening, behind]);
    expect(fetched()).toBe(1);
  });
});
