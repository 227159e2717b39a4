/**
 * Images of random content for load: each layer is a true tar of one incompressible file and has exactly the size asked for,
 * so that plain HTTP clients and real container clients can pull the same image.
 */
import { createHash, randomFillSync } from 'node:crypto';

export interface LayerSpec {
  readonly count: number;
  readonly sizeBytes: number;
}

export interface RandomBlob {
  readonly digest: string;
  readonly bytes: Buffer;
}

export interface RandomImage {
  readonly repository: string;
  readonly tag: string;
  readonly manifest: RandomBlob;
  readonly config: RandomBlob;
  readonly layers: readonly RandomBlob[];
  /** Bytes a client fetches as blobs: config and layers. */
  readonly sizeBytes: number;
}

const units: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** Reads `20MiB`, `256KiB`. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB)$/.exec(text);
  if (match === null) throw new Error(`"${text}" is not a size such as 20MiB, 256KiB or 1GiB`);
  return Math.round(Number(match[1]) * (units[match[2] as string] as number));
}

/** Reads `1x128MiB`, `40x256KiB+4x8MiB`. */
export function parseLayers(text: string): LayerSpec[] {
  return text.split('+').map((part) => {
    const match = /^(\d+)x(.+)$/.exec(part);
    if (match === null) throw new Error(`"${part}" is not layers such as 10x12MiB`);
    return { count: Number(match[1]), sizeBytes: parseBytes(match[2] as string) };
  });
}

/** Node takes less than 2 GiB in one call. */
const stepBytes = 2 ** 30;

/** The bytes in parts that one call takes. */
export function* partsOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += stepBytes) yield bytes.subarray(at, at + stepBytes);
}

/** The digest of bytes, however many. */
export function digestOf(bytes: Buffer, algorithm: string): string {
  const hash = createHash(algorithm);
  for (const part of partsOf(bytes)) hash.update(part);
  return `${algorithm}:${hash.digest('hex')}`;
}

const blobOf = (bytes: Buffer): RandomBlob => ({ digest: digestOf(bytes, 'sha256'), bytes });

/** A tar of exactly the given size: header, one file of random bytes, two zero blocks. Source: POSIX ustar. */
function createRandomTar(sizeBytes: number, name: string): Buffer {
  const block = 512;
  const contentBytes = Math.floor((sizeBytes - 3 * block) / block) * block;
  if (contentBytes < 0) throw new Error(`a layer has at least ${3 * block} bytes`);
  const tar = Buffer.alloc(contentBytes + 3 * block);
  for (const part of partsOf(tar.subarray(block, block + contentBytes))) randomFillSync(part);
  tar.write(name, 0, 'latin1');
  tar.write('0000644\0' + '0000000\0' + '0000000\0', 100, 'latin1');
  tar.write(`${contentBytes.toString(8).padStart(11, '0')}\0${'0'.repeat(11)}\0`, 124, 'latin1');
  tar.write('        0', 148, 'latin1');
  tar.write('ustar\x0000', 257, 'latin1');
  let sum = 0;
  for (let index = 0; index < block; index += 1) sum += tar[index] as number;
  tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return tar;
}

/** Makes random layers. */
export function createRandomLayers(specs: readonly LayerSpec[]): RandomBlob[] {
  const layers: RandomBlob[] = [];
  for (const { count, sizeBytes } of specs) {
    for (let index = 0; index < count; index += 1)
      layers.push(blobOf(createRandomTar(sizeBytes, `random-${layers.length}`)));
  }
  return layers;
}

/** Wraps layers into a docker schema2 image. */
export function createRandomImage(repository: string, tag: string, layers: readonly RandomBlob[]): RandomImage {
  const config = blobOf(
    Buffer.from(
      JSON.stringify({
        architecture: 'amd64',
        os: 'linux',
        config: {},
        rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.digest) },
        history: layers.map(() => ({ created_by: 'bench' })),
      }),
    ),
  );
  const manifest = blobOf(
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
        config: {
          mediaType: 'application/vnd.docker.container.image.v1+json',
          digest: config.digest,
          size: config.bytes.length,
        },
        layers: layers.map((layer) => ({
          mediaType: 'application/vnd.docker.image.rootfs.diff.tar',
          digest: layer.digest,
          size: layer.bytes.length,
        })),
      }),
    ),
  );
  const sizeBytes = layers.reduce((sum, layer) => sum + layer.bytes.length, config.bytes.length);
  return { repository, tag, manifest, config, layers, sizeBytes };
}
