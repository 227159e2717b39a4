import { afterEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { mediaTypes } from '../../../src/oci/media-type.ts';
import type { Download } from '../../../src/swarm/swarm.ts';
import { createMemoryFleet, eventually, type MemoryFleet } from '../../support/image-fleet.ts';

const repository = { namespace: 'docker.io', name: 'library/demo' };
const { signal } = new AbortController();
const most = 65;

describe('fetching ahead', () => {
  let fleet: MemoryFleet;
  afterEach(() => fleet[Symbol.asyncDispose]());

  /** Serves a manifest of so many layers beside its config, over a swarm whose downloads end when the test says so. */
  const serve = async (layerCount: number) => {
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
      images: { prefetchRepeatMs: 0 },
      deps: ({ swarm }) => ({
        swarm: {
          ...swarm,
          fetch(requests) {
            asked.push(requests.map((request) => request.digest));
            return requests.map(() => {
              const download = Promise.withResolvers<void>();
              downloads.push(download);
              return { done: download.promise } as Download;
            });
          },
        },
      }),
    });
    const open = () => node.images.openManifest(repository, digest, signal);
    await open();
    await eventually(() => asked.length > 0);
    return { node, digests, asked, downloads, open };
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

  it('does not hold up the stop of a node', async () => {
    const { node, asked } = await serve(99);
    await node.images[Symbol.asyncDispose]();
    expect(asked.flat()).toHaveLength(most);
  });
});
