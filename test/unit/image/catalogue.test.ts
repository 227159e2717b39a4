import { afterEach, describe, expect, it } from 'vitest';
import { mediaTypes } from '../../../src/oci/media-type.ts';
import { OriginError, type OriginErrorCode } from '../../../src/origin/errors.ts';
import { buildArtifact, buildImage, buildIndex } from '../../support/image-builder.ts';
import { createMemoryFleet, eventually, type MemoryFleet, pushImage } from '../../support/image-fleet.ts';

const repository = { namespace: 'docker.io', name: 'library/demo' };
const { signal } = new AbortController();

describe('lists', () => {
  let fleet: MemoryFleet;
  let failure: OriginErrorCode | undefined;
  const start = () => {
    failure = undefined;
    fleet = createMemoryFleet({
      origin: {
        namespaces: ['docker.io', 'ghcr.io'],
        beforeCall() {
          if (failure !== undefined) throw new OriginError(failure, 'as the test wants it');
        },
      },
    });
    return fleet;
  };
  afterEach(() => fleet[Symbol.asyncDispose]());

  it("lists the origin's tags page by page, and the held ones when it cannot be asked", async () => {
    const image = buildArtifact({ seed: 1, sizeBytes: 10 });
    pushImage(start().origin, repository, image, ['a', 'b', 'c']);
    const node = await fleet.join();
    expect(await node.images.listTags(repository, { limit: 2 }, signal)).toEqual({ tags: ['a', 'b'], hasMore: true });
    expect(await node.images.listTags(repository, { last: 'b' }, signal)).toEqual({ tags: ['c'], hasMore: false });
    failure = 'ORIGIN_UNAVAILABLE';
    await expect(node.images.listTags(repository, {}, signal)).rejects.toMatchObject({ code: 'IMAGE_UNAVAILABLE' });
    failure = undefined;
    await node.images.resolveTag(repository, 'b', signal);
    failure = 'ORIGIN_UNAVAILABLE';
    expect(await node.images.listTags(repository, {}, signal)).toEqual({ tags: ['b'], hasMore: false });
    failure = 'ORIGIN_NOT_FOUND';
    await expect(node.images.listTags(repository, {}, signal)).rejects.toMatchObject({
      code: 'IMAGE_REPOSITORY_UNKNOWN',
    });
    await expect(node.images.listTags({ namespace: 'x.example', name: 'y' }, {}, signal)).rejects.toMatchObject({
      code: 'IMAGE_REPOSITORY_UNKNOWN',
    });
  });

  it('lists repositories in order, page by page', async () => {
    start();
    const node = await fleet.join();
    for (const [namespace, name] of [
      ['ghcr.io', 'a/b'],
      ['docker.io', 'library/b'],
      ['docker.io', 'library/a'],
    ] as const) {
      const image = buildArtifact({ seed: 2, sizeBytes: 10 });
      pushImage(fleet.origin, { namespace, name }, image);
      await node.images.openManifest({ namespace, name }, image.digest, signal);
    }
    const page = await node.images.listRepositories({ limit: 2 });
    expect(page.repositories.map(({ name }) => name)).toEqual(['library/a', 'library/b']);
    expect(page.hasMore).toBe(true);
    const rest = await node.images.listRepositories({ limit: 2, last: page.repositories[1]! });
    expect(rest).toEqual({ repositories: [{ namespace: 'ghcr.io', name: 'a/b' }], hasMore: false });
  });

  it('lists referrers with their type and annotations', async () => {
    start();
    const subject = await buildImage({ seed: 3, layers: [{ content: 10 }] });
    const referrer = buildArtifact({ seed: 4, sizeBytes: 10, subject });
    const node = await fleet.join();
    for (const image of [subject, referrer]) {
      pushImage(fleet.origin, repository, image);
      await node.images.openManifest(repository, image.digest, signal);
    }
    expect(await node.images.listReferrers(repository, subject.digest)).toEqual([
      {
        mediaType: mediaTypes.ociManifest,
        digest: referrer.digest,
        sizeBytes: referrer.manifests[0]?.bytes.length,
        artifactType: 'application/vnd.example.notes',
        annotations: { 'org.example.seed': '4' },
      },
    ]);
    expect(await node.images.listReferrers(repository, referrer.digest)).toEqual([]);
  });

  it('lists images with their tags, and how much of each is here', async () => {
    start();
    const amd64 = await buildImage({ seed: 5, layers: [{ content: 5000 }] });
    const arm64 = await buildImage({
      seed: 6,
      layers: [{ content: 5000 }],
      platform: { os: 'linux', architecture: 'arm64' },
    });
    const index = buildIndex('oci', [amd64, arm64]);
    pushImage(fleet.origin, repository, index, ['1', '1.0']);
    const node = await fleet.join();
    for (const tag of ['1', '1.0']) await node.images.resolveTag(repository, tag, signal);
    await node.images.openManifest(repository, index.digest, signal);
    await eventually(async () => (await node.store.blobs.findBlob(amd64.layers[0]!)) !== undefined);
    await eventually(async () => (await node.store.blobs.findBlob(amd64.config)) !== undefined);
    const [summary, ...others] = await node.images.listImages();
    expect(others).toEqual([]);
    const sizeBytes =
      [index.manifests.at(-1)!, amd64.manifests[0]!].reduce((total, { bytes }) => total + bytes.length, 0) +
      amd64.blobs.reduce((total, blob) => total + blob.sizeBytes, 0);
    expect(summary).toEqual({
      repository,
      tags: ['1', '1.0'],
      digest: index.digest,
      mediaType: index.mediaType,
      sizeBytes,
      heldBytes: sizeBytes,
      provenance: 'cache',
    });
  });

  it('announces after a restart what an earlier life knew', async () => {
    start();
    const image = buildArtifact({ seed: 7, sizeBytes: 10 });
    pushImage(fleet.origin, repository, image);
    const node = await fleet.join();
    await node.images.resolveTag(repository, 'latest', signal);
    await node.images.openManifest(repository, image.digest, signal);
    const again = await fleet.join({ deps: () => ({ store: node.store }) });
    await again.images.announceHeld(signal);
    expect(fleet.directory.roots()).toEqual([image.digest]);
    failure = 'ORIGIN_UNAVAILABLE';
    const third = await fleet.join();
    expect((await third.images.resolveTag(repository, 'latest', signal)).digest).toBe(image.digest);
  });
});
