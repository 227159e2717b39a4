import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { expect, test } from 'vitest';
import { generateImage } from '../../../src/cli/demo/generated-image.ts';
import { digestOf } from '../../../src/oci/digest.ts';

const options = { sizeBytes: 3 * 2 ** 20, architectures: ['amd64', 'arm64'], seed: 1 };

test('gives the same digests for the same seed, and others for another', () => {
  const { root } = generateImage(options);
  expect(generateImage(options).root).toBe(root);
  expect(generateImage({ ...options, seed: 2 }).root).not.toBe(root);
});

test('holds an index of all architectures, with small layers shared between them', () => {
  const { image, root, layers } = generateImage(options);
  const index = image.manifests.at(-1);
  expect(digestOf(index?.bytes ?? new Uint8Array())).toBe(root);
  const parsed = JSON.parse(Buffer.from(index?.bytes ?? []).toString()) as { manifests: { platform: object }[] };
  expect(parsed.manifests.map(({ platform }) => platform)).toEqual([
    { os: 'linux', architecture: 'amd64' },
    { os: 'linux', architecture: 'arm64' },
  ]);
  const [amd64, arm64] = [layers.get('amd64') ?? [], layers.get('arm64') ?? []];
  expect(amd64).toHaveLength(7);
  expect(amd64.filter((layer) => arm64.some(({ digest }) => digest === layer.digest))).toHaveLength(2);
});

test('reads the same bytes in any pieces, and they hash to the digest', () => {
  for (const layer of generateImage(options).layers.get('amd64') ?? []) {
    const whole = layer.read(0, layer.sizeBytes);
    expect(`sha256:${createHash('sha256').update(whole).digest('hex')}`).toBe(layer.digest);
    for (const [start, end] of [
      [0, 1],
      [500, 5000],
      [4095, 4609],
      [layer.sizeBytes - 600, layer.sizeBytes],
    ] as const) {
      if (end > layer.sizeBytes) continue;
      expect(Buffer.compare(layer.read(start, end), whole.subarray(start, end)), `${start}-${end}`).toBe(0);
    }
  }
});

test('makes layers that are tar archives and do not compress', async () => {
  const layer = generateImage(options).layers.get('amd64')?.[2];
  const bytes = layer?.read(0, layer.sizeBytes) ?? new Uint8Array();
  expect(gzipSync(bytes).length).toBeGreaterThan(bytes.length * 0.95);
  const names: string[] = [];
  const archive = extract();
  archive.on('entry', (header, stream, next) => {
    names.push(header.name);
    stream.on('end', next).resume();
  });
  archive.end(bytes);
  await new Promise<void>((resolve) => archive.on('finish', () => resolve()));
  expect(names).toEqual(['demo/amd64-2.bin']);
});
