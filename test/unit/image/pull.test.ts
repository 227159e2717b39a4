import { afterEach, describe, expect, it } from 'vitest';
import type { PullProgress, PullRequest } from '../../../src/image/images.ts';
import { OriginError } from '../../../src/origin/errors.ts';
import { type BuiltImage, buildArtifact, buildImage, buildIndex } from '../../support/image-builder.ts';
import { createMemoryFleet, type MemoryFleet, type MemoryNode, pushImage } from '../../support/image-fleet.ts';

const repository = { namespace: 'docker.io', name: 'library/demo' };
const { signal } = new AbortController();

async function pull(node: MemoryNode, request: PullRequest): Promise<readonly PullProgress[]> {
  const lines: PullProgress[] = [];
  for await (const line of node.images.pull(request, signal)) lines.push(line);
  return lines;
}

describe('pull', () => {
  let fleet: MemoryFleet;
  let index: BuiltImage;
  let isDown = false;
  const start = async () => {
    isDown = false;
    fleet = createMemoryFleet({
      origin: {
        beforeCall() {
          if (isDown) throw new OriginError('ORIGIN_UNAVAILABLE', 'as the test wants it');
        },
      },
    });
    const amd64 = await buildImage({ seed: 1, layers: [{ content: 3000 }, { content: 'empty' }] });
    const arm64 = await buildImage({
      seed: 2,
      layers: [{ content: 4000 }],
      platform: { os: 'linux', architecture: 'arm64' },
    });
    index = buildIndex('oci', [amd64, arm64]);
    pushImage(fleet.origin, repository, index);
    return fleet;
  };
  afterEach(() => fleet[Symbol.asyncDispose]());

  it("reports resolved, layers, transfers and done, and leaves this node's platform in the store", async () => {
    await start();
    const node = await fleet.join({ images: { prefetch: false } });
    const lines = await pull(node, { repository, reference: { tag: 'latest' } });
    expect(lines[0]).toEqual({ kind: 'resolved', digest: index.digest, mediaType: index.mediaType, isStale: false });
    expect(lines[1]).toMatchObject({ kind: 'layers' });
    const layers = lines[1]?.kind === 'layers' ? lines[1].layers : [];
    expect(layers.map(({ digest }) => digest)).toEqual([index.config, ...index.layers]);
    expect(layers.every(({ isLocal }) => !isLocal)).toBe(true);
    expect(lines.slice(2, -1).every(({ kind }) => kind === 'transfer')).toBe(true);
    const totalBytes = layers.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
    expect(lines.at(-1)).toMatchObject({
      kind: 'done',
      digest: index.digest,
      totalBytes,
      bytes: { origin: totalBytes, peer: 0, local: 0 },
    });
    for (const { digest } of layers) expect(await node.store.blobs.findBlob(digest)).toBeDefined();

    const again = await pull(node, { repository, reference: { digest: index.digest } });
    expect(again.map(({ kind }) => kind)).toEqual(['resolved', 'layers', 'done']);
    expect(again.at(-1)).toMatchObject({ bytes: { origin: 0, peer: 0, local: totalBytes } });
  });

  it('takes a chosen platform, or all, and says when there is none', async () => {
    await start();
    const node = await fleet.join({ images: { prefetch: false } });
    const reference = { tag: 'latest' };
    const arm64 = await pull(node, { repository, reference, platform: { os: 'linux', architecture: 'arm64' } });
    expect(arm64.at(-1)).toMatchObject({ kind: 'done' });
    expect(await node.store.blobs.findBlob(index.layers[0]!)).toBeUndefined();
    const missing = pull(node, { repository, reference, platform: { os: 'linux', architecture: 's390x' } });
    await expect(missing).rejects.toMatchObject({ code: 'IMAGE_MANIFEST_UNKNOWN' });
    await pull(node, { repository, reference, platform: 'all' });
    for (const blob of index.blobs) expect(await node.store.blobs.findBlob(blob.digest)).toBeDefined();
  });

  it('gets all of an image from a peer with the origin stopped, by tag and by digest', async () => {
    await start();
    const first = await fleet.join();
    await pull(first, { repository, reference: { tag: 'latest' } });
    isDown = true;
    for (const reference of [{ tag: 'latest' }, { digest: index.digest }]) {
      const node = await fleet.join();
      const lines = await pull(node, { repository, reference });
      expect(lines[0]).toMatchObject({ kind: 'resolved', digest: index.digest, isStale: 'tag' in reference });
      expect(lines.at(-1)).toMatchObject({ kind: 'done', bytes: { origin: 0 } });
    }
  });

  it('fails with what is missing when a blob cannot be had', async () => {
    await start();
    const image = buildArtifact({ seed: 3, sizeBytes: 100 });
    fleet.origin.putManifest(repository, image.manifests[0]!, ['broken']);
    const node = await fleet.join();
    await expect(pull(node, { repository, reference: { tag: 'broken' } })).rejects.toMatchObject({
      code: 'IMAGE_BLOB_UNKNOWN',
    });
  });

  it('stops reporting at the signal and lets the downloads go on', async () => {
    await start();
    const node = await fleet.join({ images: { prefetch: false } });
    const leaving = new AbortController();
    const walk = node.images.pull({ repository, reference: { tag: 'latest' } }, leaving.signal)[Symbol.asyncIterator]();
    await walk.next();
    await walk.next();
    await walk.next();
    leaving.abort(new DOMException('gone', 'AbortError'));
    await walk.return?.();
    await Promise.all(index.layers.map((digest) => node.swarm.findDownload(digest)?.done));
    for (const digest of index.layers) expect(await node.store.blobs.findBlob(digest)).toBeDefined();
  });
});
