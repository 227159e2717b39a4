import { afterEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { mediaTypes } from '../../../src/oci/media-type.ts';
import { OriginError, type OriginErrorCode } from '../../../src/origin/errors.ts';
import { createMemoryOrigin } from '../../../src/origin/memory/memory-origin.ts';
import { StoreError } from '../../../src/store/errors.ts';
import { buildArtifact, buildImage, buildIndex } from '../../support/image-builder.ts';
import {
  alterBlobs,
  createMemoryFleet,
  eventually,
  type MemoryFleet,
  type MemoryNode,
  pushImage,
} from '../../support/image-fleet.ts';

const repository = { namespace: 'docker.io', name: 'library/demo' };
const other = { namespace: 'docker.io', name: 'team/demo' };
const { signal } = new AbortController();
const image = buildArtifact({ seed: 1, sizeBytes: 1000 });
const bytes = image.manifests[0]!.bytes;

describe('openManifest', () => {
  let fleet: MemoryFleet;
  let failure: OriginErrorCode | undefined;
  let gate: Promise<void> | undefined;
  const start = () => {
    failure = undefined;
    gate = undefined;
    fleet = createMemoryFleet({
      origin: {
        async beforeCall() {
          await gate;
          if (failure !== undefined) throw new OriginError(failure, 'as the test wants it');
        },
      },
    });
    pushImage(fleet.origin, repository, image);
    return fleet;
  };
  const fetched = () => fleet.origin.calls.filter(({ operation }) => operation === 'fetchManifest').length;
  afterEach(() => fleet[Symbol.asyncDispose]());

  it('keeps bytes and media type exactly, with the edges of its children', async () => {
    const node = await start().join();
    const opened = await node.images.openManifest(repository, image.digest, signal);
    expect(Buffer.compare(opened.bytes, bytes)).toBe(0);
    expect(opened.record.mediaType).toBe(mediaTypes.ociManifest);
    expect((await node.store.blobs.findBlob(image.digest))?.sizeBytes).toBe(bytes.length);
    const parents = await node.store.metadata.findParents(image.layers[0]!);
    expect(parents).toMatchObject([{ repository, manifest: image.digest }]);
    const again = await node.images.openManifest(repository, image.digest, signal);
    expect(Buffer.compare(again.bytes, bytes)).toBe(0);
    expect(fetched()).toBe(1);
  });

  it('fetches once for any number of callers, also when those who asked first leave', async () => {
    const node = await start().join();
    const open = Promise.withResolvers<void>();
    gate = open.promise;
    const leaving = new AbortController();
    const left = node.images.openManifest(repository, image.digest, leaving.signal);
    const others = Array.from({ length: 9 }, () => node.images.openManifest(repository, image.digest, signal));
    await eventually(() => fetched() === 1);
    leaving.abort(new DOMException('gone', 'AbortError'));
    await expect(left).rejects.toThrow('gone');
    open.resolve();
    await Promise.all(others);
    expect(fetched()).toBe(1);
  });

  it('refuses further ones while 256 are being fetched, and takes them again afterwards', async () => {
    const node = await start().join({ images: { prefetch: false } });
    const open = Promise.withResolvers<void>();
    gate = open.promise;
    const digests = Array.from({ length: 257 }, (_, at) => digestOf(Buffer.from(`nothing ${at}`)));
    const leaving = new AbortController();
    const left = digests
      .slice(0, 256)
      .map((digest) => node.images.openManifest(repository, digest, leaving.signal).catch(() => {}));
    await eventually(() => fetched() === 256);
    leaving.abort(new DOMException('gone', 'AbortError'));
    await Promise.all(left);
    const refused = node.images.openManifest(repository, digests[256]!, signal);
    await expect(refused).rejects.toMatchObject({ code: 'IMAGE_UNAVAILABLE' });
    expect(fetched()).toBe(256);
    // One that is being fetched already takes no further place.
    const joined = node.images.openManifest(repository, digests[0]!, signal);
    open.resolve();
    await expect(joined).rejects.toMatchObject({ code: 'IMAGE_MANIFEST_UNKNOWN' });
    await node.images.openManifest(repository, image.digest, signal);
  });

  it('serves a digest that came through another repository, and links it here', async () => {
    const node = await start().join();
    await node.images.openManifest(repository, image.digest, signal);
    await node.images.openManifest(other, image.digest, signal);
    expect(fetched()).toBe(1);
    expect(await node.store.metadata.findManifest(other, image.digest)).toMatchObject({ provenance: 'cache' });
  });

  it('takes it from a peer with the origin down, by digest alone', async () => {
    start();
    const [first, second] = [await fleet.join(), await fleet.join()];
    await first.images.openManifest(repository, image.digest, signal);
    failure = 'ORIGIN_UNAVAILABLE';
    const opened = await second.images.openManifest(repository, image.digest, signal);
    expect(Buffer.compare(opened.bytes, bytes)).toBe(0);
    expect(opened.record.mediaType).toBe(image.mediaType);
  });

  it('takes a manifest larger than a channel message from a peer in slices', async () => {
    start();
    const large = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: { mediaType: mediaTypes.ociEmpty, size: 2, digest: image.config },
        layers: [],
        annotations: { filling: 'x'.repeat(700_000) },
      }),
    );
    const digest = fleet.origin.putManifest(repository, { mediaType: mediaTypes.ociManifest, bytes: large });
    const [first, second] = [await fleet.join(), await fleet.join()];
    await first.images.openManifest(repository, digest, signal);
    failure = 'ORIGIN_UNAVAILABLE';
    const opened = await second.images.openManifest(repository, digest, signal);
    expect(Buffer.compare(opened.bytes, large)).toBe(0);
  });

  it('asks connected peers when the directory names nobody', async () => {
    start();
    const first = await fleet.join();
    const second = await fleet.join({
      deps: ({ directory }) => ({
        directory: { ...directory, announce: async () => new Map(), find: async () => new Map() },
      }),
    });
    await first.images.openManifest(repository, image.digest, signal);
    failure = 'ORIGIN_UNAVAILABLE';
    const opened = await second.images.openManifest(repository, image.digest, signal);
    expect(Buffer.compare(opened.bytes, bytes)).toBe(0);
  });

  it('lets one node of a fleet that starts together ask the origin', async () => {
    start();
    const nodes: MemoryNode[] = [];
    for (let count = 0; count < 6; count += 1) nodes.push(await fleet.join());
    const open = Promise.withResolvers<void>();
    gate = open.promise;
    const opening = nodes.map((node) => node.images.openManifest(repository, image.digest, signal));
    await eventually(() => fetched() === 1);
    open.resolve();
    for (const { bytes: got } of await Promise.all(opening)) expect(Buffer.compare(got, bytes)).toBe(0);
    expect(fetched()).toBe(1);
  });

  it('goes to the origin when the peer it waits for takes too long', async () => {
    start();
    const [first, second] = [await fleet.join(), await fleet.join()];
    const open = Promise.withResolvers<void>();
    gate = open.promise;
    const slow = first.images.openManifest(repository, image.digest, signal);
    await eventually(() => fetched() === 1);
    gate = undefined;
    await second.images.openManifest(repository, image.digest, signal);
    expect(fetched()).toBe(2);
    open.resolve();
    await slow;
  });

  it('takes it from whoever has it by now while the origin does not answer', async () => {
    start();
    const silent = createMemoryOrigin({ beforeCall: () => new Promise<never>(() => {}) });
    const [first, cutOff] = [await fleet.join(), await fleet.join({ deps: () => ({ origin: silent }) })];
    const asked = () => silent.calls.filter(({ operation }) => operation === 'fetchManifest').length;
    const waiting = cutOff.images.openManifest(repository, image.digest, signal);
    await eventually(() => asked() === 1);
    await first.images.openManifest(repository, image.digest, signal);
    const opened = await waiting;
    expect(Buffer.compare(opened.bytes, bytes)).toBe(0);
    expect(asked()).toBe(1);
  });

  it('goes on waiting for the origin when the directory fails meanwhile', async () => {
    start();
    const open = Promise.withResolvers<void>();
    gate = open.promise;
    let finds = 0;
    const node = await fleet.join({
      images: { fleetWaitMs: 5 },
      deps: ({ directory }) => ({
        directory: {
          ...directory,
          announce: async () => new Map(),
          find: async () => {
            finds += 1;
            throw new Error('no tracker can be reached');
          },
        },
      }),
    });
    const waiting = node.images.openManifest(repository, image.digest, signal);
    await eventually(() => finds > 1);
    open.resolve();
    expect(Buffer.compare((await waiting).bytes, bytes)).toBe(0);
  });

  it('gives what the fleet had first to peers that wait for its answer from the origin', async () => {
    start();
    const silent = createMemoryOrigin({ beforeCall: () => new Promise<never>(() => {}) });
    const deps = () => ({ origin: silent });
    const [first, cutOff] = [await fleet.join(), await fleet.join({ deps })];
    const waiting = cutOff.images.openManifest(repository, image.digest, signal);
    await eventually(() => silent.calls.some(({ operation }) => operation === 'fetchManifest'));
    const behind = await fleet.join({ deps, images: { fleetWaitMs: 3_000 } });
    const waitingBehind = behind.images.openManifest(repository, image.digest, signal);
    await first.images.openManifest(repository, image.digest, signal);
    const opened = await Promise.all([waiting, waitingBehind]);
    for (const { bytes: got } of opened) expect(Buffer.compare(got, bytes)).toBe(0);
  });

  it('answers unknown for what nobody has, and remembers it for a while', async () => {
    const node = await start().join();
    for (let count = 0; count < 3; count += 1) {
      const missing = node.images.openManifest(other, image.digest, signal);
      await expect(missing).rejects.toMatchObject({ code: 'IMAGE_MANIFEST_UNKNOWN' });
    }
    expect(fetched()).toBe(1);
  });

  it('refuses a document that could be read as image and as index (CVE-2021-41190)', async () => {
    const node = await start().join();
    const descriptor = { mediaType: mediaTypes.ociManifest, size: 1, digest: image.digest };
    const bytes = Buffer.from(
      JSON.stringify({ schemaVersion: 2, config: descriptor, layers: [], manifests: [descriptor] }),
    );
    const digest = fleet.origin.putManifest(repository, { mediaType: mediaTypes.ociManifest, bytes });
    await expect(node.images.openManifest(repository, digest, signal)).rejects.toMatchObject({
      code: 'IMAGE_MANIFEST_UNKNOWN',
    });
    expect(await node.store.blobs.findBlob(digest)).toBeUndefined();
  });

  it('fetches a held manifest again whose bytes are damaged', async () => {
    start();
    const quarantined: string[] = [];
    const node = await fleet.join({
      images: { manifestCacheBytes: 1 },
      deps: ({ store }) => ({
        store: {
          metadata: store.metadata,
          blobs: alterBlobs(store.blobs, {
            async openBlob(digest: typeof image.digest) {
              const handle = await store.blobs.openBlob(digest);
              if (digest !== image.digest || quarantined.length > 0) return handle;
              const read = async (target: Uint8Array, position: number) => {
                const count = await handle.read(target, position);
                target[0] = 0;
                return count;
              };
              return { ...handle, read };
            },
            async quarantineBlob(digest: typeof image.digest, reason: string) {
              quarantined.push(digest);
              await store.blobs.quarantineBlob(digest, reason);
            },
          }),
        },
      }),
    });
    await node.images.openManifest(repository, image.digest, signal);
    const again = await node.images.openManifest(repository, image.digest, signal);
    expect(Buffer.compare(again.bytes, bytes)).toBe(0);
    expect(quarantined).toEqual([image.digest]);
    expect(fetched()).toBe(2);
  });

  it('serves a manifest that the full disk cannot keep', async () => {
    start();
    const node = await fleet.join({
      deps: ({ store }) => ({
        store: {
          metadata: store.metadata,
          blobs: alterBlobs(store.blobs, {
            async writeBlob() {
              throw new StoreError('STORE_FULL', 'no room');
            },
          }),
        },
      }),
    });
    const opened = await node.images.openManifest(repository, image.digest, signal);
    expect(Buffer.compare(opened.bytes, bytes)).toBe(0);
  });
});

describe('serving a manifest', () => {
  const { signal } = new AbortController();
  let fleet: MemoryFleet;
  afterEach(() => fleet[Symbol.asyncDispose]());

  it('fetches config and layers in manifest order in one request to the swarm, and leases them', async () => {
    fleet = createMemoryFleet();
    const image = await buildImage({ seed: 3, layers: [{ content: 500 }, { content: 700 }] });
    pushImage(fleet.origin, repository, image);
    const asked: string[][] = [];
    const node = await fleet.join({
      deps: ({ swarm }) => ({
        swarm: {
          ...swarm,
          fetch(requests) {
            asked.push(requests.map(({ digest }) => digest));
            return swarm.fetch(requests);
          },
        },
      }),
    });
    await node.images.statManifest(repository, image.digest, signal);
    expect(asked).toEqual([]);
    await node.images.openManifest(repository, image.digest, signal);
    await eventually(() => asked.length > 0);
    expect(asked).toEqual([[image.config, ...image.layers]]);
    for (const digest of [image.digest, image.config, ...image.layers]) {
      await eventually(async () => (await node.store.blobs.findBlob(digest)) !== undefined);
      const edges = await node.store.metadata.listEdges(digest);
      expect(edges.some(({ kind }) => kind === 'lease')).toBe(true);
    }
    await node.images.openManifest(repository, image.digest, signal);
    expect(asked).toHaveLength(1);
  });

  it("fetches of an index this node's platform alone", async () => {
    fleet = createMemoryFleet();
    const amd64 = await buildImage({ seed: 4, layers: [{ content: 500 }] });
    const arm64 = await buildImage({
      seed: 5,
      layers: [{ content: 500 }],
      platform: { os: 'linux', architecture: 'arm64' },
    });
    const index = buildIndex('docker', [arm64, amd64]);
    pushImage(fleet.origin, repository, index);
    const node = await fleet.join();
    await node.images.openManifest(repository, index.digest, signal);
    const layer = amd64.layers[0]!;
    await eventually(async () => (await node.store.blobs.findBlob(layer)) !== undefined);
    expect(await node.store.blobs.findBlob(arm64.digest)).toBeUndefined();
    expect(await node.store.blobs.findBlob(arm64.layers[0]!)).toBeUndefined();
    expect(fleet.directory.roots()).toEqual([index.digest]);
    // A client that asks for the other platform gets it ahead as well.
    await node.images.openManifest(repository, arm64.digest, signal);
    await eventually(async () => (await node.store.blobs.findBlob(arm64.layers[0]!)) !== undefined);
  });

  it('skips layers that need not be at the registry', async () => {
    fleet = createMemoryFleet();
    const content = buildArtifact({ seed: 6, sizeBytes: 100 });
    const foreign = buildArtifact({ seed: 7, sizeBytes: 100 }).layers[0]!;
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.dockerManifest,
        config: { mediaType: mediaTypes.dockerConfig, size: 2, digest: content.config },
        layers: [
          { mediaType: mediaTypes.dockerForeignLayerGzip, size: 100, digest: foreign, urls: ['https://x.example/l'] },
          { mediaType: mediaTypes.dockerLayerGzip, size: 100, digest: content.layers[0] },
        ],
      }),
    );
    for (const blob of content.blobs) fleet.origin.putBlob(repository, blob);
    const digest = fleet.origin.putManifest(repository, { mediaType: mediaTypes.dockerManifest, bytes });
    const node = await fleet.join();
    await node.images.openManifest(repository, digest, signal);
    await eventually(async () => (await node.store.blobs.findBlob(content.layers[0]!)) !== undefined);
    expect(fleet.origin.calls.some(({ reference }) => reference === foreign)).toBe(false);
  });
});
