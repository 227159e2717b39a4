import { afterEach, describe, expect, it } from 'vitest';
import { OriginError, type OriginErrorCode } from '../../../src/origin/errors.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { type BuiltImage, buildArtifact } from '../../support/image-builder.ts';
import { createMemoryFleet, eventually, type MemoryFleet, pushImage } from '../../support/image-fleet.ts';

const repository = { namespace: 'docker.io', name: 'library/demo' };
const { signal } = new AbortController();
const image: BuiltImage = buildArtifact({ seed: 1, sizeBytes: 1000 });
const next: BuiltImage = buildArtifact({ seed: 2, sizeBytes: 1000 });

describe('resolveTag', () => {
  let fleet: MemoryFleet;
  let failure: OriginErrorCode | undefined;
  let gate: Promise<void> | undefined;
  let isTroubled = false;
  const clock = new FakeClock();
  const start = () => {
    failure = undefined;
    gate = undefined;
    isTroubled = false;
    fleet = createMemoryFleet({
      clock,
      origin: {
        namespaces: ['docker.io'],
        async beforeCall(_call, _signal, onTrouble) {
          if (isTroubled) onTrouble?.();
          await gate;
          if (failure !== undefined) throw new OriginError(failure, 'as the test wants it');
        },
      },
    });
    pushImage(fleet.origin, repository, image);
    return fleet;
  };
  const asked = () => fleet.origin.calls.filter(({ operation }) => operation === 'resolveTag').length;
  afterEach(() => fleet[Symbol.asyncDispose]());

  it('asks the origin once and serves from the store inside the fresh window', async () => {
    const node = await start().join();
    expect(await node.images.resolveTag(repository, 'latest', signal)).toEqual({
      digest: image.digest,
      mediaType: image.mediaType,
      sizeBytes: image.manifests[0]?.bytes.length,
      isStale: false,
    });
    pushImage(fleet.origin, repository, next);
    clock.advance(29_000);
    expect((await node.images.resolveTag(repository, 'latest', signal)).digest).toBe(image.digest);
    expect(asked()).toBe(1);
    clock.advance(2_000);
    expect((await node.images.resolveTag(repository, 'latest', signal)).digest).toBe(next.digest);
    expect(asked()).toBe(2);
  });

  it('asks once for any number of callers, and a caller that leaves does not end the question', async () => {
    const node = await start().join();
    const open = Promise.withResolvers<void>();
    gate = open.promise;
    const leaving = new AbortController();
    const left = node.images.resolveTag(repository, 'latest', leaving.signal);
    const others = Array.from({ length: 9 }, () => node.images.resolveTag(repository, 'latest', signal));
    await eventually(() => asked() === 1);
    leaving.abort(new DOMException('gone', 'AbortError'));
    await expect(left).rejects.toThrow('gone');
    open.resolve();
    for (const resolved of await Promise.all(others)) expect(resolved.digest).toBe(image.digest);
    expect(asked()).toBe(1);
  });

  for (const code of ['ORIGIN_UNAVAILABLE', 'ORIGIN_RATE_LIMITED', 'ORIGIN_BREAKER_OPEN', 'ORIGIN_CUT'] as const) {
    it(`serves a stale tag on ${code}, and says so`, async () => {
      const node = await start().join();
      await node.images.resolveTag(repository, 'latest', signal);
      clock.advance(3_600_000);
      failure = code;
      const stale = await node.images.resolveTag(repository, 'latest', signal);
      expect(stale).toMatchObject({ digest: image.digest, isStale: true });
      expect(node.health.conditions().map((condition) => condition.code)).toEqual(['IMAGE_TAGS_STALE']);
      // A dead origin costs its time-out once, not once per client.
      await node.images.resolveTag(repository, 'latest', signal);
      expect(asked()).toBe(2);
      clock.advance(6_000);
      failure = undefined;
      expect((await node.images.resolveTag(repository, 'latest', signal)).isStale).toBe(false);
      expect(node.health.conditions()).toEqual([]);
    });
  }

  for (const [code, told] of [
    ['ORIGIN_NOT_FOUND', 'IMAGE_MANIFEST_UNKNOWN'],
    ['ORIGIN_UNAUTHORIZED', 'IMAGE_UNAUTHORIZED'],
    ['ORIGIN_FORBIDDEN', 'IMAGE_DENIED'],
  ] as const) {
    it(`never serves a stale tag on ${code}, and remembers the answer for a while`, async () => {
      const node = await start().join();
      await node.images.resolveTag(repository, 'latest', signal);
      clock.advance(3_600_000);
      failure = code;
      await expect(node.images.resolveTag(repository, 'latest', signal)).rejects.toMatchObject({ code: told });
      await expect(node.images.resolveTag(repository, 'latest', signal)).rejects.toMatchObject({ code: told });
      expect(asked()).toBe(2);
      clock.advance(11_000);
      failure = undefined;
      expect((await node.images.resolveTag(repository, 'latest', signal)).digest).toBe(image.digest);
    });
  }

  it('serves a stale tag when the origin does not answer in time, and takes the late answer', async () => {
    const node = await start().join();
    await node.images.resolveTag(repository, 'latest', signal);
    clock.advance(3_600_000);
    pushImage(fleet.origin, repository, next);
    const open = Promise.withResolvers<void>();
    gate = open.promise;
    const resolving = node.images.resolveTag(repository, 'latest', signal);
    await eventually(() => asked() === 2);
    await clock.advanceAsync(1_000);
    expect(await resolving).toMatchObject({ digest: image.digest, isStale: true });
    open.resolve();
    await eventually(async () => (await node.store.metadata.findTag(repository, 'latest'))?.digest === next.digest);
    expect(await node.images.resolveTag(repository, 'latest', signal)).toMatchObject({
      digest: next.digest,
      isStale: false,
    });
  });

  it('waits for a slow origin when nothing is remembered, to the end of its time', async () => {
    const node = await start().join();
    gate = new Promise(() => {});
    const resolving = node.images.resolveTag(repository, 'latest', signal);
    resolving.catch(() => {});
    await eventually(() => asked() === 1);
    await clock.advanceAsync(5_001);
    await expect(resolving).rejects.toMatchObject({ code: 'IMAGE_UNAVAILABLE' });
  });

  it('learns a tag from the fleet when the origin is down, the newest answer first, marked stale', async () => {
    start();
    const [first, second, third] = [await fleet.join(), await fleet.join(), await fleet.join()];
    await first.images.resolveTag(repository, 'latest', signal);
    clock.advance(60_000);
    pushImage(fleet.origin, repository, next);
    await second.images.resolveTag(repository, 'latest', signal);
    failure = 'ORIGIN_UNAVAILABLE';
    expect(await third.images.resolveTag(repository, 'latest', signal)).toMatchObject({
      digest: next.digest,
      isStale: true,
    });
    // What was only told never counts as confirmed here, however fresh it was there.
    clock.advance(6_000);
    expect((await third.images.resolveTag(repository, 'latest', signal)).isStale).toBe(true);
    clock.advance(60_000);
    expect(await first.images.resolveTag(repository, 'latest', signal)).toMatchObject({ digest: next.digest });
  });

  it('asks the fleet again while the origin keeps it waiting, since others may have got the answer meanwhile', async () => {
    start();
    const [waiting, lucky] = [await fleet.join(), await fleet.join()];
    gate = new Promise(() => {});
    const resolving = waiting.images.resolveTag(repository, 'latest', signal);
    await eventually(() => asked() === 1);
    await clock.advanceAsync(1_000);
    gate = undefined;
    await lucky.images.resolveTag(repository, 'latest', signal);
    await clock.advanceAsync(1_000);
    expect(await resolving).toMatchObject({ digest: image.digest, isStale: true });
  });

  it('asks the fleet at once when the origin fails and goes on being asked, and once only', async () => {
    start();
    const [troubled, informed] = [await fleet.join(), await fleet.join()];
    await informed.images.resolveTag(repository, 'latest', signal);
    isTroubled = true;
    gate = new Promise(() => {});
    expect(await troubled.images.resolveTag(repository, 'latest', signal)).toMatchObject({
      digest: image.digest,
      isStale: true,
    });
    // Nobody knows this one, and its time with the origin is not cut short.
    const unknown = troubled.images.resolveTag({ ...repository, name: 'library/other' }, 'latest', signal);
    unknown.catch(() => {});
    await eventually(() => asked() === 3);
    await clock.advanceAsync(4_900);
    const early = await Promise.race([unknown.catch(() => 'refused'), Promise.resolve('waiting')]);
    expect(early).toBe('waiting');
    await clock.advanceAsync(200);
    await expect(unknown).rejects.toMatchObject({ code: 'IMAGE_UNAVAILABLE' });
  });

  it('asks the fleet once a second at most, however little patience it has with the origin', async () => {
    let finds = 0;
    const node = await start().join({
      images: { originPatienceMs: 0 },
      deps: ({ tagHints }) => ({
        tagHints: {
          ...tagHints,
          find: async () => {
            finds += 1;
            return [];
          },
        },
      }),
    });
    gate = new Promise(() => {});
    const resolving = node.images.resolveTag(repository, 'latest', signal);
    resolving.catch(() => {});
    for (let tenths = 0; tenths < 51; tenths += 1) await clock.advanceAsync(100);
    await expect(resolving).rejects.toMatchObject({ code: 'IMAGE_UNAVAILABLE' });
    expect(finds).toBeGreaterThan(2);
    expect(finds).toBeLessThanOrEqual(7);
  });

  it('says what is wrong when the origin is down and nobody remembers the tag', async () => {
    start();
    const node = await fleet.join();
    await fleet.join();
    failure = 'ORIGIN_UNAVAILABLE';
    await expect(node.images.resolveTag(repository, 'latest', signal)).rejects.toMatchObject({
      code: 'IMAGE_UNAVAILABLE',
    });
  });

  it('refuses a namespace that is no origin, unless the tag is here', async () => {
    const node = await start().join();
    const foreign = { namespace: 'evil.example', name: 'x/y' };
    await expect(node.images.resolveTag(foreign, 'latest', signal)).rejects.toMatchObject({
      code: 'IMAGE_NAMESPACE_REFUSED',
    });
    expect(asked()).toBe(0);
  });

  it('does not take a tag for fresh for ever when the clock was set back', async () => {
    const node = await start().join();
    await node.store.metadata.putTag(repository, 'latest', {
      digest: next.digest,
      mediaType: next.mediaType,
      sizeBytes: 1,
      confirmedAtMs: clock.wallMs() + 86_400_000,
    });
    expect((await node.images.resolveTag(repository, 'latest', signal)).digest).toBe(image.digest);
  });
});
