import { describe, expect, it } from 'vitest';
import type { Descriptor } from '../../../src/oci/descriptor.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { mediaTypes } from '../../../src/oci/media-type.ts';
import { choosePlatform, findPlatform, formatPlatform, nodePlatform } from '../../../src/oci/platform.ts';

const child = (name: string, extra: Partial<Descriptor> = {}): Descriptor => ({
  mediaType: mediaTypes.ociManifest,
  digest: digestOf(Buffer.from(name)),
  sizeBytes: name.length,
  ...extra,
});
const at = (text: string) => {
  const platform = findPlatform(text);
  if (platform === undefined) throw new Error(text);
  return platform;
};
const choose = (offered: readonly string[], wanted: string) => {
  const chosen = choosePlatform(
    offered.map((text) => child(text, { platform: at(text) })),
    at(wanted),
  );
  return chosen?.platform && formatPlatform(chosen.platform);
};

describe('choosePlatform', () => {
  it.each<[string, string[], string | undefined]>([
    ['linux/amd64', ['linux/arm64', 'linux/amd64'], 'linux/amd64'],
    ['linux/amd64', ['linux/amd64/v3', 'linux/amd64'], 'linux/amd64'],
    ['linux/amd64', ['linux/amd64/v1'], 'linux/amd64/v1'],
    ['linux/amd64', ['linux/amd64/v2', 'linux/386'], 'linux/386'],
    ['linux/amd64/v3', ['linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4'], 'linux/amd64/v2'],
    ['linux/amd64', ['windows/amd64'], undefined],
    ['linux/arm64', ['linux/arm/v7', 'linux/arm64/v8'], 'linux/arm64/v8'],
    ['linux/arm64/v8', ['linux/arm64'], 'linux/arm64'],
    ['linux/arm64/v9', ['linux/arm64', 'linux/arm64/v9'], 'linux/arm64/v9'],
    ['linux/arm64', ['linux/arm/v6', 'linux/arm/v7'], 'linux/arm/v7'],
    ['linux/arm', ['linux/arm/v6', 'linux/arm'], 'linux/arm'],
    ['linux/arm/v7', ['linux/arm/v5', 'linux/arm/v6'], 'linux/arm/v6'],
    ['linux/arm/v6', ['linux/arm/v7'], undefined],
    ['linux/arm/soft', ['linux/arm/soft'], 'linux/arm/soft'],
    ['linux/s390x', ['linux/amd64', 'linux/s390x'], 'linux/s390x'],
    ['linux/riscv64', [], undefined],
  ])('for %s of %j takes %s', (wanted, offered, expected) => {
    expect(choose(offered, wanted)).toBe(expected);
  });

  it('never takes an attestation', () => {
    const attestation = child('att', { platform: { os: 'unknown', architecture: 'unknown' } });
    const marked = child('att2', { annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } });
    expect(choosePlatform([attestation, marked], { os: 'unknown', architecture: 'unknown' })).toBeUndefined();
    const image = child('image');
    expect(choosePlatform([attestation, image, marked], at('linux/amd64'))).toBe(image);
  });

  it('takes a child without a platform only when it is the only one', () => {
    expect(choosePlatform([child('a'), child('b')], at('linux/amd64'))).toBeUndefined();
  });
});

describe('platforms', () => {
  it('of this node are told in OCI words', () => {
    expect(nodePlatform('linux', 'x64')).toEqual({ os: 'linux', architecture: 'amd64' });
    expect(nodePlatform('darwin', 'arm64')).toEqual({ os: 'linux', architecture: 'arm64' });
    expect(nodePlatform('win32', 'ia32')).toEqual({ os: 'windows', architecture: '386' });
    expect(nodePlatform().os).toBe('linux');
  });

  it('are read and written', () => {
    expect(formatPlatform(at('linux/arm/v7'))).toBe('linux/arm/v7');
    expect(['', 'linux', 'linux/', 'a/b/c/d', 'Linux/amd64', 'linux/amd64\n'].map(findPlatform)).toEqual(
      Array(6).fill(undefined),
    );
  });
});
