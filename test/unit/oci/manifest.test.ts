import { describe, expect, it } from 'vitest';
import { isRequired, parseDescriptor } from '../../../src/oci/descriptor.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { findJsonExcess } from '../../../src/oci/json-bounds.ts';
import { maxManifestBytes, parseManifest } from '../../../src/oci/manifest.ts';
import { findMediaType, isManifestType, manifestMediaTypes, mediaTypes } from '../../../src/oci/media-type.ts';

const entry = (text: string, extra: Record<string, unknown> = {}) => ({
  mediaType: mediaTypes.ociLayerGzip,
  digest: digestOf(Buffer.from(text)),
  size: text.length,
  ...extra,
});
const config = entry('config', { mediaType: mediaTypes.ociConfig });
const image = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [entry('a'), entry('bb')] };
const index = {
  schemaVersion: 2,
  mediaType: mediaTypes.ociIndex,
  manifests: [
    entry('m', { mediaType: mediaTypes.ociManifest, platform: { os: 'linux', architecture: 'arm', variant: 'v7' } }),
  ],
};
const parse = (document: unknown, contentType?: string) =>
  parseManifest(Buffer.from(typeof document === 'string' ? document : JSON.stringify(document)), contentType);
const without = (document: Record<string, unknown>, ...keys: string[]) =>
  Object.fromEntries(Object.entries(document).filter(([key]) => !keys.includes(key)));

describe('parseManifest', () => {
  it('reads an OCI image manifest', () => {
    const parsed = parse({
      ...image,
      artifactType: 'application/x',
      annotations: { a: 'b', n: 1 },
      subject: entry('s'),
    });
    expect(parsed).toMatchObject({
      kind: 'image',
      mediaType: mediaTypes.ociManifest,
      config: { digest: config.digest, sizeBytes: 6 },
      layers: [{ sizeBytes: 1 }, { sizeBytes: 2 }],
      subject: { digest: digestOf(Buffer.from('s')) },
      artifactType: 'application/x',
      annotations: { a: 'b' },
    });
    expect(parsed.children.map(({ sizeBytes }) => sizeBytes)).toEqual([6, 1, 2]);
    expect(parsed).not.toHaveProperty('manifests');
  });

  it('reads an index', () => {
    const parsed = parse(index);
    expect(parsed).toMatchObject({ kind: 'index', mediaType: mediaTypes.ociIndex });
    expect(parsed.manifests).toEqual(parsed.children);
    expect(parsed.children[0]?.platform).toEqual({ os: 'linux', architecture: 'arm', variant: 'v7' });
    expect(parsed).not.toHaveProperty('layers');
  });

  it.each<[string, object, string | undefined, string, string]>([
    [
      'schema 2',
      { ...image, mediaType: mediaTypes.dockerManifest },
      mediaTypes.dockerManifest,
      'image',
      mediaTypes.dockerManifest,
    ],
    [
      'a list',
      { ...index, mediaType: mediaTypes.dockerManifestList },
      undefined,
      'index',
      mediaTypes.dockerManifestList,
    ],
    ['no type at all, image', without(image, 'mediaType'), undefined, 'image', mediaTypes.ociManifest],
    ['no type at all, index', without(index, 'mediaType'), undefined, 'index', mediaTypes.ociIndex],
    ['a type outside only', without(image, 'mediaType'), mediaTypes.dockerManifest, 'image', mediaTypes.dockerManifest],
    ['an empty type inside', { ...index, mediaType: '' }, mediaTypes.ociIndex, 'index', mediaTypes.ociIndex],
    [
      'a type with parameters',
      image,
      `${mediaTypes.ociManifest.toUpperCase()}; charset=utf-8`,
      'image',
      mediaTypes.ociManifest,
    ],
    ['a generic type outside', image, 'application/json', 'image', mediaTypes.ociManifest],
    ['lists written as null', { ...index, manifests: null, layers: null }, undefined, 'index', mediaTypes.ociIndex],
    ['no layers', without(image, 'layers'), undefined, 'image', mediaTypes.ociManifest],
    ['config alone tells an image', without(image, 'layers', 'mediaType'), undefined, 'image', mediaTypes.ociManifest],
    [
      'odd descriptions',
      { ...image, annotations: [], artifactType: 7, subject: null },
      undefined,
      'image',
      mediaTypes.ociManifest,
    ],
  ])('accepts %s', (_, document, contentType, kind, mediaType) => {
    expect(parse(document, contentType)).toMatchObject({ kind, mediaType });
  });

  it('names every child once and every layer as often as it stands there', () => {
    const parsed = parse({ ...image, layers: [entry('a'), entry('a'), entry('b')] });
    expect([parsed.children.length, parsed.layers?.length]).toEqual([3, 3]);
  });

  it.each<[string, unknown, string?]>([
    ['text that is not JSON', '{'],
    ['a byte order mark', `\ufeff${JSON.stringify(image)}`],
    ['a list', '[]'],
    ['null', 'null'],
    ['a number', '1'],
    ['another schema version', { ...image, schemaVersion: 3 }],
    ['no schema version', without(image, 'schemaVersion')],
    ['schema 1', { schemaVersion: 1, fsLayers: [], history: [] }],
    ['schema 1 by its layers', { ...image, fsLayers: [] }],
    ['schema 1 by its type', without(image, 'mediaType'), mediaTypes.dockerSchema1Signed],
    ['schema 1 by its unsigned type', without(image, 'mediaType'), mediaTypes.dockerSchema1],
    ['layers and manifests (CVE-2021-41190)', { ...index, layers: [] }],
    ['config and manifests', without({ ...index, config }, 'mediaType')],
    ['an index called an image', { ...index, mediaType: mediaTypes.ociManifest }],
    ['an image called an index', { ...image, mediaType: mediaTypes.ociIndex }],
    ['a type inside against one outside', image, mediaTypes.dockerManifest],
    ['a type that is no manifest', { ...image, mediaType: mediaTypes.ociConfig }],
    ['a Content-Type that is none', image, 'nonsense'],
    ['a type that is no text', { ...image, mediaType: 7 }],
    ['nothing to tell what it is', { schemaVersion: 2 }],
    ['an image without config', without(image, 'config')],
    ['layers that are no list', { ...image, layers: {} }],
    ['a layer that is no object', { ...image, layers: ['x'] }],
    ['one digest with two sizes', { ...image, layers: [entry('a'), entry('a', { size: 2 })] }],
    ['too many children', { ...index, manifests: Array(10_001).fill(entry('m')) }],
    ['too deep', `${'['.repeat(65)}${']'.repeat(65)}`],
    ['too many containers', `[${'[],'.repeat(100_000)}[]]`],
  ])('refuses %s', (_, document, contentType) => {
    expect(() => parse(document, contentType)).toThrow(expect.objectContaining({ code: 'OCI_MANIFEST_INVALID' }));
  });

  it('refuses bytes that are not UTF-8', () => {
    expect(() => parseManifest(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(
      expect.objectContaining({ code: 'OCI_MANIFEST_INVALID' }),
    );
  });

  it('takes 4 MiB and not a byte more', () => {
    const bare = JSON.stringify({ ...image, annotations: { pad: '' } });
    const pad = (by: number) => bare.replace('"pad":""', `"pad":"${'x'.repeat(maxManifestBytes - bare.length + by)}"`);
    expect(parse(pad(0)).kind).toBe('image');
    expect(() => parse(pad(1))).toThrow(expect.objectContaining({ code: 'OCI_MANIFEST_TOO_LARGE' }));
  });
});

describe('parseDescriptor', () => {
  it.each<[string, unknown]>([
    ['no object', 'x'],
    ['null', null],
    ['a list', []],
    ['no media type', entry('a', { mediaType: undefined })],
    ['a bad media type', entry('a', { mediaType: 'a b/c' })],
    ['no digest', entry('a', { digest: 7 })],
    ['a bad digest', entry('a', { digest: 'sha256:x' })],
    ['a negative size', entry('a', { size: -1 })],
    ['a fraction', entry('a', { size: 1.5 })],
    ['an unsafe size', entry('a', { size: 2 ** 53 })],
    ['a size in text', entry('a', { size: '1' })],
  ])('refuses %s', (_, value) => {
    expect(() => parseDescriptor(value, 'layers[3]')).toThrow(
      expect.objectContaining({ code: 'OCI_MANIFEST_INVALID', details: { where: 'layers[3]' } }),
    );
  });

  it('is lenient about what only describes', () => {
    const odd = { platform: { os: 'linux' }, annotations: null, urls: 'x', artifactType: '' };
    expect(Object.keys(parseDescriptor(entry('a', odd), 'x'))).toEqual(['mediaType', 'digest', 'sizeBytes']);
    const full = { platform: { os: 'linux', architecture: 'amd64', variant: '' }, artifactType: 'a/b', urls: ['u', 1] };
    expect(parseDescriptor(entry('a', full), 'x')).toMatchObject({
      platform: { os: 'linux', architecture: 'amd64' },
      artifactType: 'a/b',
      urls: ['u'],
    });
  });

  it('keeps a hostile annotation key as data', () => {
    const value: unknown = JSON.parse(JSON.stringify(entry('a')).replace('{', '{"annotations":{"__proto__":"x"},'));
    expect(Object.keys(parseDescriptor(value, 'x').annotations ?? {})).toEqual(['__proto__']);
  });

  it('tells which children a registry must have', () => {
    const required = (extra: Record<string, unknown>) => isRequired(parseDescriptor(entry('a', extra), 'x'));
    expect(required({})).toBe(true);
    expect(required({ urls: ['https://elsewhere'] })).toBe(false);
    expect(required({ mediaType: mediaTypes.dockerForeignLayerGzip })).toBe(false);
    expect(required({ mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip' })).toBe(false);
  });
});

describe('media types', () => {
  it('are read out of a Content-Type', () => {
    expect(findMediaType(' Application/JSON ; charset=utf-8')).toBe('application/json');
    expect(['', 'x', 'a/b/c', '/', 'a/', `a/${'b'.repeat(128)}`].map(findMediaType)).toEqual(Array(6).fill(undefined));
  });

  it('of manifests are known', () => {
    expect(manifestMediaTypes.every(isManifestType)).toBe(true);
    expect(isManifestType(mediaTypes.ociConfig)).toBe(false);
  });
});

describe('findJsonExcess', () => {
  const excess = (text: string) => findJsonExcess(Buffer.from(text), { maxDepth: 2, maxContainers: 3 });

  it('counts brackets outside of text', () => {
    expect(excess('[{"a":"[[[[{{{{\\"[[[[\\\\"}]')).toBeUndefined();
    expect(excess('[[],[]]')).toBeUndefined();
    expect(excess('[[[]]]')).toContain('deep');
    expect(excess('[[],[],[]]')).toContain('objects and lists');
  });
});
