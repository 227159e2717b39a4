import type { Descriptor, Platform } from './descriptor.ts';

// Node's words for architectures to OCI's (Go's); the same word is used for those not listed.
const architectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  ppc64: 'ppc64le',
  mipsel: 'mipsle',
};

/** Returns the platform of images this node runs. Anything but Windows runs Linux images (macOS in a virtual machine). */
export function nodePlatform(os: string = process.platform, architecture: string = process.arch): Platform {
  return { os: os === 'win32' ? 'windows' : 'linux', architecture: architectures[architecture] ?? architecture };
}

/** Reads `os/architecture[/variant]`, or returns undefined. */
export function findPlatform(text: string): Platform | undefined {
  const match = /^([a-z0-9]{1,32})\/([a-z0-9]{1,32})(?:\/([a-z0-9.]{1,32}))?$/.exec(text);
  const [, os, architecture, variant] = match ?? [];
  if (os === undefined || architecture === undefined) return undefined;
  return variant === undefined ? { os, architecture } : { os, architecture, variant };
}

export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/** Tells whether it is a build attestation: it stands in indexes beside the images and nobody runs it. */
export function isAttestation(descriptor: Descriptor): boolean {
  return (
    descriptor.annotations?.['vnd.docker.reference.type'] === 'attestation-manifest' ||
    (descriptor.platform?.os === 'unknown' && descriptor.platform.architecture === 'unknown')
  );
}

/**
 * Chooses the child of an index that a client on this platform would pull: the best variant it can run, the first of equals.
 * A single child that names no platform is taken; attestations never are.
 */
export function choosePlatform(manifests: readonly Descriptor[], wanted: Platform): Descriptor | undefined {
  const images = manifests.filter((descriptor) => !isAttestation(descriptor));
  for (const runnable of runnablePlatforms(wanted)) {
    const found = images.find(({ platform }) => platform !== undefined && isSame(platform, runnable));
    if (found !== undefined) return found;
  }
  const [only] = images;
  return images.length === 1 && only?.platform === undefined ? only : undefined;
}

/** What a machine can run, best first. Same order as containerd's platform vectors. */
function runnablePlatforms(wanted: Platform): readonly Platform[] {
  const { os, architecture, variant } = normalize(wanted);
  const below = (of: string, lowest: number, from: number): Platform[] =>
    Array.from({ length: from - lowest + 1 }, (_, step) => ({ os, architecture: of, variant: `v${from - step}` }));
  const level = /^v([1-9])$/.exec(variant ?? '')?.[1];
  if (architecture === 'amd64') {
    return [...below('amd64', 2, Number(level ?? 1)), { os, architecture }, { os, architecture: '386' }];
  }
  if (architecture === 'arm64') {
    return [
      { os, architecture, ...(variant !== undefined && { variant }) },
      { os, architecture },
      ...below('arm', 5, 8),
    ];
  }
  if (architecture === 'arm' && level !== undefined) return below('arm', 5, Number(level));
  return [{ os, architecture, ...(variant !== undefined && { variant }) }];
}

/** Writes the default variant in one way: none for amd64 (v1) and arm64 (v8), v7 for arm. */
function normalize(platform: Platform): Platform {
  const { os, architecture, variant } = platform;
  if (architecture === 'amd64' && variant === 'v1') return { os, architecture };
  if (architecture === 'arm64' && (variant === 'v8' || variant === '8')) return { os, architecture };
  if (architecture === 'arm') return { os, architecture, variant: variant ?? 'v7' };
  return platform;
}

function isSame(left: Platform, right: Platform): boolean {
  const [a, b] = [normalize(left), normalize(right)];
  return a.os === b.os && a.architecture === b.architecture && a.variant === b.variant;
}
