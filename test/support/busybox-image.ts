import { readFileSync } from 'node:fs';
import { type BuiltImage, buildImage, type ImageFlavour, type LayerOptions } from './image-builder.ts';
import { findProgram } from './lab/client.ts';

const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/** This machine's architecture in the registry's words. */
export const localArchitecture = architectures[process.arch] ?? process.arch;

export interface BusyboxImageOptions {
  readonly seed: number;
  readonly flavour: ImageFlavour;
  readonly compression?: LayerOptions['compression'];
  /** Further layers, below the runnable one. */
  readonly layers?: readonly LayerOptions[];
}

/** Builds an image that can be run: Debian's static busybox as /bin/sh, and whatever else is asked for. */
export function buildBusyboxImage(options: BusyboxImageOptions): Promise<BuiltImage> {
  const busybox = findProgram('busybox');
  if (busybox === undefined) throw new Error('busybox is missing (Debian: apt-get install busybox-static)');
  const shell: LayerOptions = {
    content: [
      { name: 'bin/busybox', mode: 0o755, bytes: readFileSync(busybox) },
      { name: 'bin/sh', mode: 0o777, linkTo: 'busybox' },
      { name: 'bin/echo', mode: 0o777, linkTo: 'busybox' },
      { name: 'bin/sha256sum', mode: 0o777, linkTo: 'busybox' },
    ],
    ...(options.compression === undefined ? {} : { compression: options.compression }),
  };
  return buildImage({
    seed: options.seed,
    flavour: options.flavour,
    platform: { os: 'linux', architecture: localArchitecture },
    layers: [...(options.layers ?? []), shell],
  });
}
