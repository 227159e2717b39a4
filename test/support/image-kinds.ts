/** The kinds of image that every client is tried on, with what each client of Debian 12 can do with them. */
import { buildBusyboxImage, localArchitecture } from './busybox-image.ts';
import { type BuiltImage, buildArtifact, buildImage, buildIndex } from './image-builder.ts';
import type { ClientName } from './lab/client.ts';

export interface ImageKind {
  readonly name: string;
  build(seed: number): Promise<BuiltImage>;
  /** Clients that can take it at all, found out against docker-registry itself. */
  readonly clients: readonly ClientName[];
  readonly isRunnable: boolean;
  readonly isArtifact?: boolean;
}

const everyClient: readonly ClientName[] = ['docker', 'ctr', 'podman', 'skopeo', 'buildah'];
const foreignArchitecture = localArchitecture === 'amd64' ? 'arm64' : 'amd64';

const withForeign = async (flavour: 'oci' | 'docker', seed: number): Promise<BuiltImage> =>
  buildIndex(flavour, [
    await buildBusyboxImage({ seed, flavour, layers: [{ content: 300_000 }] }),
    await buildImage({
      seed: seed + 1,
      flavour,
      platform: { os: 'linux', architecture: foreignArchitecture },
      layers: [{ content: 300_000 }],
    }),
  ]);

export const imageKinds: readonly ImageKind[] = [
  {
    name: 'oci',
    build: (seed) => buildBusyboxImage({ seed, flavour: 'oci', layers: [{ content: 1000 }, { content: 3_000_000 }] }),
    clients: everyClient,
    isRunnable: true,
  },
  {
    name: 'schema2',
    build: (seed) =>
      buildBusyboxImage({ seed, flavour: 'docker', layers: [{ content: 1000 }, { content: 3_000_000 }] }),
    clients: everyClient,
    isRunnable: true,
  },
  { name: 'oci-index', build: (seed) => withForeign('oci', seed), clients: everyClient, isRunnable: true },
  { name: 'schema2-list', build: (seed) => withForeign('docker', seed), clients: everyClient, isRunnable: true },
  {
    name: 'empty-layer',
    build: (seed) => buildBusyboxImage({ seed, flavour: 'oci', layers: [{ content: 'empty' }, { content: 1000 }] }),
    clients: everyClient,
    isRunnable: true,
  },
  {
    name: 'sixty-layers',
    build: (seed) =>
      buildBusyboxImage({
        seed,
        flavour: 'docker',
        layers: Array.from({ length: 59 }, (_, index) => ({ content: 500 + index })),
      }),
    clients: everyClient,
    isRunnable: true,
  },
  {
    name: 'zstd',
    build: (seed) =>
      buildBusyboxImage({
        seed,
        flavour: 'oci',
        compression: 'zstd',
        layers: [{ content: 1_000_000, compression: 'zstd' }],
      }),
    // Docker 20.10 cannot unpack zstd.
    clients: ['ctr', 'podman', 'skopeo', 'buildah'],
    isRunnable: true,
  },
  {
    name: 'big-layer',
    build: (seed) => buildBusyboxImage({ seed, flavour: 'docker', layers: [{ content: 300 * 1024 * 1024 }] }),
    // Every client unpacks it to disk; two of them show what there is to see.
    clients: ['docker', 'skopeo'],
    isRunnable: true,
  },
  {
    name: 'artifact',
    build: async (seed) => buildArtifact({ seed, sizeBytes: 100_000 }),
    // The others insist on an image's configuration.
    clients: ['ctr', 'skopeo'],
    isRunnable: false,
    isArtifact: true,
  },
];
