import { afterEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { mediaTypes } from '../../../src/oci/media-type.ts';
import type { Download, Transfer } from '../../../src/swarm/swarm.ts';
import { createMemoryFleet, eventually, type MemoryFleet } from '../../support/image-fleet.ts';

const repository = { namespace: 'docker.io', name: 'library/demo' };
const { signal } = new AbortController();
const most = 65;
const nothing = { origin: 0, peer: 0, local: 0 };

describe('fetching ahead', () => {
  let fleet: MemoryFleet;
  afterEach(() => fleet[Symbol.asyncDispose]());

  /** A manifest of so many layers beside its config, over a swarm whose downloads end when the test says so. */
  const setUp = async (layerCount: number, prefetch = true) => {
    fleet = createMemoryFleet();
    const digests = Array.from({ length: layerCount + 1 }, (_, at) => digestOf(Buffer.from(`blob ${at}`)));
    const [config, ...layers] = digests.map((digest) => ({ digest, size: 7 }));
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: { ...config, mediaType: mediaTypes.ociConfig },
        layers: layers.map((layer) => ({ ...layer, mediaType: mediaTypes.ociLayerGzip })),
      }),
    );
    const digest = fleet.origin.putManifest(repository, { mediaType: mediaTypes.ociManifest, bytes });
    const asked: string[][] = [];
    const downloads: PromiseWithResolvers<void>[] = [];
    const node = await fleet.join({
      images: { prefetchRepeatMs: 0, prefetch },
      deps: ({ swarm }) => ({
        swarm: {
          ...swarm,
          fetch(requests) {
            asked.push(requests.map((request) => request.digest));
            return requests.map((request) => {
              const download = Promise.withResolvers<void>();
              downloads.push(download);
              const transfer = { digest: request.digest, state: 'complete', piecesHeld: 1, bytes: nothing } as Transfer;
              return { digest: request.digest, done: download.promise, transfer: () => transfer } as Download;
            });
          },
        },
      }),
    });
    const open = () => node.images.openManifest(repository, digest, signal);
    return { node, digest, digests, asked, downloads, open };
  };

  const serve = async (layerCount: number) => {
    const kit = await setUp(layerCount);
    await kit.open();
    await eventually(() => kit.asked.length > 0);
    return kit;
  };

  it('asks for all blobs of a large image in one request', async () => {
    const { digests, asked } = await serve(most - 1);
    expect(asked).toEqual([digests]);
  });

  it('keeps to as many at once of an image that names more, and starts the next when one ends or fails', async () => {
    const { node, digests, asked, downloads, open } = await serve(99);
    expect(asked).toEqual([digests.slice(0, most)]);
    // Served again meanwhile, it is not begun anew.
    await open();
    downloads[3]!.resolve();
    downloads[7]!.reject(new Error('as the test wants it'));
    await eventually(() => asked.flat().length === most + 2);
    expect(asked.flat()).toEqual(digests.slice(0, most + 2));
    for (let at = 0; at < digests.length; at += 1) {
      await eventually(() => downloads.length > at);
      downloads[at]!.resolve();
    }
    expect(asked.flat()).toEqual(digests);
    await node.images[Symbol.asyncDispose]();
  });

  it('keeps to as many at once in a pull too, which ends with the last', async () => {
    const { node, digest, digests, asked, downloads } = await setUp(99, false);
    const pulled = (async () => {
      const kinds: string[] = [];
      for await (const { kind } of node.images.pull({ repository, reference: { digest } }, signal)) kinds.push(kind);
      return kinds;
    })();
    await eventually(() => asked.length > 0);
    expect(asked).toEqual([digests.slice(0, most)]);
    for (let at = 0; at < digests.length; at += 1) {
      await eventually(() => downloads.length > at);
      downloads[at]!.resolve();
    }
    expect((await pulled).at(-1)).toBe('done');
    expect(asked.flat()).toEqual(digests);
    await node.images[Symbol.asyncDispose]();
  });

  it('does not hold up the stop of a node', async () => {
    const { node, asked } = await serve(99);
    await node.images[Symbol.asyncDispose]();
    expect(asked.flat()).toHaveLength(most);
  });
});
