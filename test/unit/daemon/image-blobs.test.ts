import { expect, test } from 'vitest';
import { findImageBlobs } from '../../../src/daemon/image-blobs.ts';
import { type Digest, digestOf } from '../../../src/oci/digest.ts';
import type { Repository } from '../../../src/oci/repository.ts';
import type { ManifestRecord } from '../../../src/store/metadata-store.ts';

const repository = { namespace: 'origin.lan', name: 'app' } as Repository;
const linux = { os: 'linux', architecture: 'amd64' };
const digest = (name: string) => digestOf(Buffer.from(name));
const image = 'application/vnd.oci.image.manifest.v1+json';
const index = 'application/vnd.oci.image.index.v1+json';
const blob = (name: string) => ({ digest: digest(name), sizeBytes: 1, mediaType: 'application/octet-stream' });

function manifest(name: string, mediaType: string, children: ManifestRecord['children']): ManifestRecord {
  return { digest: digest(name), mediaType, sizeBytes: 1, children, provenance: 'cache', storedAtMs: 0 };
}

const known = new Map<Digest, ManifestRecord>(
  [
    manifest('amd', image, [blob('config'), blob('layer')]),
    manifest('arm', image, [blob('config of arm'), blob('layer')]),
    manifest('index', index, [
      { digest: digest('amd'), sizeBytes: 1, mediaType: image, platform: linux },
      { digest: digest('arm'), sizeBytes: 1, mediaType: image, platform: { os: 'linux', architecture: 'arm64' } },
      { digest: digest('unseen'), sizeBytes: 1, mediaType: image, platform: { os: 'linux', architecture: 's390x' } },
    ]),
    manifest('loop', index, [{ digest: digest('loop'), sizeBytes: 1, mediaType: index, platform: linux }]),
  ].map((record) => [record.digest, record]),
);
const metadata = {
  findTag: async (_: Repository, tag: string) =>
    tag === 'latest' ? { digest: digest('index'), mediaType: index, sizeBytes: 1, confirmedAtMs: 0 } : undefined,
  findManifest: async (_: Repository, wanted: Digest) => known.get(wanted),
};
const blobsOf = async (reference: { tag: string } | { digest: Digest }, platform?: 'all' | typeof linux) => {
  const found = await findImageBlobs(metadata, { repository, reference, ...(platform && { platform }) }, linux);
  return found?.blobs.map((found) => found.digest);
};

test('the blobs of an image are those of the platform asked for', async () => {
  const layers = ['config', 'layer'].map(digest);
  expect(await blobsOf({ tag: 'latest' })).toEqual(layers);
  expect(await blobsOf({ digest: digest('amd') })).toEqual(layers);
  expect(await blobsOf({ tag: 'latest' }, { os: 'linux', architecture: 'arm64' })).toEqual(
    ['config of arm', 'layer'].map(digest),
  );
  expect(await blobsOf({ tag: 'latest' }, 'all')).toEqual(['config', 'layer', 'config of arm'].map(digest));
});

test('what this node has not seen has none, and an index within itself comes to an end', async () => {
  expect(await blobsOf({ tag: 'other' })).toBeUndefined();
  expect(await blobsOf({ digest: digest('nothing') })).toBeUndefined();
  expect(await blobsOf({ tag: 'latest' }, { os: 'linux', architecture: 's390x' })).toEqual([]);
  expect(await blobsOf({ digest: digest('loop') })).toEqual([]);
});
