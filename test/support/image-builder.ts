import { createHash } from 'node:crypto';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { blobOf, type OriginBlob, type OriginImage } from '../../src/cli/demo/origin-content.ts';
import { seededRandom } from '../../src/lib/clock.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';

/**
 * Builds images that real clients accept: tar layers with true diff_ids, config, manifest, index; OCI and Docker schema 2.
 * The same arguments always give the same digests.
 */
export interface ImageOptions {
  readonly seed: number;
  /** Absent = 'oci'. */
  readonly flavour?: ImageFlavour;
  readonly layers: readonly LayerOptions[];
  /** Absent = linux/amd64. */
  readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string };
}

export type ImageFlavour = 'oci' | 'docker';

export interface LayerOptions {
  /** Size of the one file inside; its bytes are random, so the compressed layer is about as big. 'empty' = a tar without entries. */
  readonly content: number | 'empty' | readonly LayerFile[];
  /** Absent = gzip. */
  readonly compression?: 'gzip' | 'zstd' | 'none';
}

/** A file of a layer whose content matters, such as a program to run. */
export interface LayerFile {
  readonly name: string;
  readonly mode: number;
  /** Absent = a symbolic link to `linkTo`. */
  readonly bytes?: Buffer;
  readonly linkTo?: string;
}

export interface BuiltImage extends OriginImage {
  /** The digest a tag points at. */
  readonly digest: Digest;
  readonly mediaType: string;
  readonly config: Digest;
  readonly layers: readonly Digest[];
  readonly platform: { readonly os: string; readonly architecture: string; readonly variant?: string };
}

const types = {
  oci: {
    index: 'application/vnd.oci.image.index.v1+json',
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    none: 'application/vnd.oci.image.layer.v1.tar',
    gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
    zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  },
  docker: {
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    none: 'application/vnd.docker.image.rootfs.diff.tar',
    gzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
    zstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
  },
} as const;

/** Builds a single-platform image. */
export async function buildImage(options: ImageOptions): Promise<BuiltImage> {
  const { seed, flavour = 'oci', platform = { os: 'linux', architecture: 'amd64' } } = options;
  const type = types[flavour];
  const blobs: OriginBlob[] = [];
  const diffIds: Digest[] = [];
  const descriptors = [];
  for (const [index, layer] of options.layers.entries()) {
    const { compression = 'gzip' } = layer;
    const tar = await buildTar(layer.content, seed * 1000 + index, index);
    const bytes = compress(tar, compression);
    const blob = blobOf(bytes);
    blobs.push(blob);
    diffIds.push(digestOf(tar));
    descriptors.push({ mediaType: type[compression], size: bytes.length, digest: blob.digest });
  }
  const config = blobOf(
    encode({
      created: '2026-01-01T00:00:00Z',
      ...platform,
      config: { Env: ['PATH=/usr/bin:/bin'], Cmd: ['/layer-0'] },
      rootfs: { type: 'layers', diff_ids: diffIds },
      history: diffIds.map((_, index) => ({ created: '2026-01-01T00:00:00Z', created_by: `layer ${index}` })),
    }),
  );
  const manifest = encode({
    schemaVersion: 2,
    mediaType: type.manifest,
    config: { mediaType: type.config, size: config.sizeBytes, digest: config.digest },
    layers: descriptors,
  });
  return {
    digest: digestOf(manifest),
    mediaType: type.manifest,
    config: config.digest,
    layers: descriptors.map(({ digest }) => digest),
    manifests: [{ mediaType: type.manifest, bytes: manifest }],
    blobs: [config, ...blobs],
    platform,
  };
}

/** Puts images under one index (OCI) or manifest list (Docker); the first image's config and layers are reported. */
export function buildIndex(flavour: ImageFlavour, images: readonly BuiltImage[]): BuiltImage {
  const first = images[0];
  if (first === undefined) throw new RangeError('an index needs an image');
  const mediaType = types[flavour].index;
  const bytes = encode({
    schemaVersion: 2,
    mediaType,
    manifests: images.map((image) => ({
      mediaType: image.mediaType,
      size: image.manifests.at(-1)?.bytes.length,
      digest: image.digest,
      platform: image.platform,
    })),
  });
  return {
    ...first,
    digest: digestOf(bytes),
    mediaType,
    manifests: [...images.flatMap((image) => image.manifests), { mediaType, bytes }],
    blobs: images.flatMap((image) => image.blobs),
  };
}

/** Builds an artifact that is no image: the empty config, one blob of a foreign type. */
export function buildArtifact(options: { seed: number; sizeBytes: number; subject?: BuiltImage }): BuiltImage {
  const config = blobOf(Buffer.from('{}'));
  const content = blobOf(randomBytes(options.seed, options.sizeBytes));
  const mediaType = types.oci.manifest;
  const { subject } = options;
  const bytes = encode({
    schemaVersion: 2,
    mediaType,
    artifactType: 'application/vnd.example.notes',
    config: { mediaType: 'application/vnd.oci.empty.v1+json', size: 2, digest: config.digest },
    layers: [{ mediaType: 'application/vnd.example.notes.text', size: content.sizeBytes, digest: content.digest }],
    ...(subject === undefined
      ? {}
      : {
          subject: {
            mediaType: subject.mediaType,
            size: subject.manifests.at(-1)?.bytes.length,
            digest: subject.digest,
          },
        }),
    annotations: { 'org.example.seed': String(options.seed) },
  });
  return {
    digest: digestOf(bytes),
    mediaType,
    config: config.digest,
    layers: [content.digest],
    manifests: [{ mediaType, bytes }],
    blobs: [config, content],
    platform: { os: 'unknown', architecture: 'unknown' },
  };
}

// One pool of random bytes is cut into blocks; a stamp of the block's number makes every block differ.
const poolBytes = 1024 * 1024;
const blockBytes = 64 * 1024;

/** Makes a blob of random-looking bytes that is generated where it is read; only its digest costs a pass over it. */
export function buildGeneratedBlob(seed: number, sizeBytes: number): OriginBlob {
  const pool = randomBytes(seed, poolBytes);
  const read = (start: number, end: number): Buffer => {
    const first = Math.floor(start / blockBytes);
    const last = Math.ceil(end / blockBytes);
    const bytes = Buffer.allocUnsafe((last - first) * blockBytes);
    for (let block = first; block < last; block += 1) {
      const at = (block - first) * blockBytes;
      pool.copy(bytes, at, (block * blockBytes) % poolBytes, ((block * blockBytes) % poolBytes) + blockBytes);
      bytes.writeUInt32BE(block, at);
    }
    return bytes.subarray(start - first * blockBytes, end - first * blockBytes);
  };
  const hash = createHash('sha256');
  for (let at = 0; at < sizeBytes; at += poolBytes) hash.update(read(at, Math.min(at + poolBytes, sizeBytes)));
  return { digest: `sha256:${hash.digest('hex')}` as Digest, sizeBytes, read };
}

/** Returns bytes that no compressor shrinks, the same for the same seed. */
export function randomBytes(seed: number, sizeBytes: number): Buffer {
  const random = seededRandom(seed);
  const bytes = Buffer.allocUnsafe(sizeBytes);
  const words = Math.floor(sizeBytes / 4);
  for (let word = 0; word < words; word += 1) bytes.writeUInt32LE(Math.floor(random.next() * 0x100000000), word * 4);
  for (let at = words * 4; at < sizeBytes; at += 1) bytes[at] = Math.floor(random.next() * 256);
  return bytes;
}

async function buildTar(content: LayerOptions['content'], seed: number, index: number): Promise<Buffer> {
  const tar = pack();
  const files =
    content === 'empty'
      ? []
      : typeof content === 'number'
        ? [{ name: `layer-${index}`, mode: 0o755, bytes: randomBytes(seed, content) }]
        : content;
  for (const file of files) {
    const entry = { name: file.name, mode: file.mode, mtime: new Date(0), uid: 0, gid: 0 };
    if (file.bytes !== undefined) tar.entry(entry, file.bytes);
    else tar.entry({ ...entry, type: 'symlink', linkname: file.linkTo ?? '' });
  }
  tar.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of tar) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

// Random bytes do not shrink: above this size they are only wrapped, so that a 300 MB layer is built in seconds.
const storedAboveBytes = 1024 * 1024;

function compress(tar: Buffer, compression: 'gzip' | 'zstd' | 'none'): Buffer {
  if (compression === 'none') return tar;
  if (compression === 'gzip') return gzipSync(tar, { level: tar.length > storedAboveBytes ? 0 : 6 });
  return zstdCompressSync(tar, { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
}

function encode(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
