import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { buildArtifact, buildGeneratedBlob, buildImage, buildIndex } from '../../support/image-builder.ts';

const layers = [{ content: 1000 }, { content: 'empty' }, { content: 5000, compression: 'zstd' }] as const;

it('builds the same image from the same seed and another from another', async () => {
  const [first, again, other] = await Promise.all([1, 1, 2].map((seed) => buildImage({ seed, layers })));
  expect(again?.digest).toBe(first?.digest);
  expect(other?.digest).not.toBe(first?.digest);
});

it('names the uncompressed digest of every layer in the config', async () => {
  const image = await buildImage({ seed: 3, flavour: 'docker', layers });
  const [config, ...blobs] = image.blobs.map((blob) => Buffer.from(blob.read(0, blob.sizeBytes)));
  const diffIds = JSON.parse(config!.toString()).rootfs.diff_ids;
  expect(diffIds).toEqual([
    digestOf(gunzipSync(blobs[0]!)),
    digestOf(gunzipSync(blobs[1]!)),
    digestOf(zstdDecompressSync(blobs[2]!)),
  ]);
});

it('puts the index last and keeps every child', async () => {
  const images = await Promise.all(
    ['amd64', 'arm64'].map((architecture, seed) =>
      buildImage({ seed, layers: [{ content: 10 }], platform: { os: 'linux', architecture } }),
    ),
  );
  const index = buildIndex('oci', images);
  expect(digestOf(index.manifests.at(-1)!.bytes)).toBe(index.digest);
  expect(index.manifests).toHaveLength(3);
  expect(index.blobs).toHaveLength(4);
  expect(buildArtifact({ seed: 1, sizeBytes: 10, subject: index }).layers).toHaveLength(1);
});

it('generates the same bytes for every cut of a generated blob', () => {
  const blob = buildGeneratedBlob(7, 300_001);
  const whole = Buffer.from(blob.read(0, blob.sizeBytes));
  expect(digestOf(whole)).toBe(blob.digest);
  expect(Buffer.from(blob.read(65_530, 131_080)).equals(whole.subarray(65_530, 131_080))).toBe(true);
});
