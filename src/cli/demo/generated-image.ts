import { createHash } from 'node:crypto';
import { type Digest, digestOf } from '../../oci/digest.ts';
import type { OriginBlob, OriginImage } from './origin-content.ts';

export interface GeneratedImageOptions {
  /** Bytes of all layers of one platform together. */
  readonly sizeBytes: number;
  readonly architectures: readonly string[];
  /** Decides the bytes: the same seed gives the same digests. */
  readonly seed: number;
}

export interface GeneratedImage {
  readonly image: OriginImage;
  readonly root: Digest;
  /** Layers of each platform, in order. */
  readonly layers: ReadonlyMap<string, readonly OriginBlob[]>;
}

// How real images look: one big base, some middle layers, many small ones.
const layerShares = [0.45, 0.25, 0.15, 0.1, 0.04, 0.009, 0.001];
const tarBlockBytes = 512;

/**
 * Makes a multi-arch image out of nothing: real tar layers that a container client can unpack, with bytes that do not compress,
 * computed where they are read, so that size costs no memory. Small layers are shared by the platforms, as in real images.
 */
export function generateImage(options: GeneratedImageOptions): GeneratedImage {
  const blobs: OriginBlob[] = [];
  const manifests: OriginImage['manifests'][number][] = [];
  const layers = new Map<string, readonly OriginBlob[]>();
  const children: object[] = [];
  // The smallest shares are scripts and settings: the same on every platform.
  const sharedFrom = layerShares.length - 2;
  const shared = layerShares
    .slice(sharedFrom)
    .map((share, at) => createLayer(`shared-${at}`, Math.round(share * options.sizeBytes), options.seed + 100 + at));

  for (const [platformAt, architecture] of options.architectures.entries()) {
    const own = layerShares
      .slice(0, sharedFrom)
      .map((share, at) =>
        createLayer(
          `${architecture}-${at}`,
          Math.round(share * options.sizeBytes),
          options.seed + 1000 * (platformAt + 1) + at,
        ),
      );
    const all = [...own, ...shared];
    layers.set(architecture, all);
    const config = jsonBlob({
      architecture,
      os: 'linux',
      created: '2026-01-01T00:00:00Z',
      config: { Env: ['PATH=/bin'], Labels: { 'shoal.demo': 'generated' } },
      rootfs: { type: 'layers', diff_ids: all.map((layer) => layer.digest) },
      history: all.map((_, at) => ({ created: '2026-01-01T00:00:00Z', created_by: `shoal demo layer ${at}` })),
    });
    blobs.push(config, ...all);
    const manifest = jsonBytes({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: descriptor('application/vnd.oci.image.config.v1+json', config),
      layers: all.map((layer) => descriptor('application/vnd.oci.image.layer.v1.tar', layer)),
    });
    manifests.push({ mediaType: 'application/vnd.oci.image.manifest.v1+json', bytes: manifest });
    children.push({
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: digestOf(manifest),
      size: manifest.length,
      platform: { os: 'linux', architecture },
    });
  }
  const index = jsonBytes({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: children,
  });
  manifests.push({ mediaType: 'application/vnd.oci.image.index.v1+json', bytes: index });
  return { image: { manifests, blobs }, root: digestOf(index), layers };
}

/** A layer: a tar archive of one file. Only its head is kept in memory. */
function createLayer(name: string, fileBytes: number, seed: number): OriginBlob {
  const header = tarHeader(`demo/${name}.bin`, fileBytes);
  const padded = Math.ceil(fileBytes / tarBlockBytes) * tarBlockBytes;
  // Two empty blocks end an archive (POSIX ustar).
  const sizeBytes = header.length + padded + 2 * tarBlockBytes;
  const noise = createNoise(seed);
  const read = (start: number, end: number): Uint8Array => {
    const target = Buffer.alloc(Math.min(end, sizeBytes) - start);
    if (start < header.length) header.copy(target, 0, start, Math.min(end, header.length));
    const from = Math.max(start, header.length);
    const to = Math.min(end, header.length + fileBytes);
    if (from < to) noise(target.subarray(from - start, to - start), from - header.length);
    return target;
  };
  const hash = createHash('sha256');
  // 1 MiB: large enough for the hash to run at full speed, small enough to stay out of the heap's way.
  for (let at = 0; at < sizeBytes; at += 1 << 20) hash.update(read(at, Math.min(sizeBytes, at + (1 << 20))));
  return { digest: `sha256:${hash.digest('hex')}` as Digest, sizeBytes, read };
}

// 1 MiB of noise repeats with a different mask per repetition: no two pieces are alike, and making it costs one XOR a word.
const noiseBytes = 1 << 20;

/** Returns a function that fills a buffer with the noise that stands at a position of an endless file. */
function createNoise(seed: number): (target: Buffer, position: number) => void {
  const base = new Uint32Array(noiseBytes / 4);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let at = 0; at < base.length; at += 1) {
    // xorshift32 (Marsaglia 2003): fast, and more than even enough not to compress.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    base[at] = state;
  }
  const bytes = Buffer.from(base.buffer);
  return (target, position) => {
    let done = 0;
    while (done < target.length) {
      const at = position + done;
      const round = Math.floor(at / noiseBytes);
      const inside = at % noiseBytes;
      const length = Math.min(target.length - done, noiseBytes - inside);
      bytes.copy(target, done, inside, inside + length);
      // One stamped word in every 4 KiB makes each repetition unique without touching all of it.
      stamp(target.subarray(done, done + length), inside, round);
      done += length;
    }
  };
}

const stampEveryBytes = 4096;

function stamp(target: Buffer, inside: number, round: number): void {
  for (
    let block = Math.floor(inside / stampEveryBytes) * stampEveryBytes;
    block < inside + target.length;
    block += stampEveryBytes
  ) {
    for (let byte = 0; byte < 4; byte += 1) {
      const at = block + byte - inside;
      if (at >= 0 && at < target.length) target[at] = (target[at] ?? 0) ^ ((round >>> (8 * byte)) & 0xff);
    }
  }
}

/** Writes a POSIX ustar header for one regular file. */
function tarHeader(name: string, sizeBytes: number): Buffer {
  const header = Buffer.alloc(tarBlockBytes);
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, '0')}\0`;
  header.write(name, 0, 100, 'ascii');
  header.write(octal(0o644, 7), 100);
  header.write(octal(0, 7), 108);
  header.write(octal(0, 7), 116);
  header.write(octal(sizeBytes, 11), 124);
  header.write(octal(1767225600, 11), 136);
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\x0000', 257);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

function jsonBytes(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function jsonBlob(value: unknown): OriginBlob {
  const bytes = jsonBytes(value);
  return { digest: digestOf(bytes), sizeBytes: bytes.length, read: (start, end) => bytes.subarray(start, end) };
}

function descriptor(mediaType: string, blob: OriginBlob): object {
  return { mediaType, digest: blob.digest, size: blob.sizeBytes };
}
