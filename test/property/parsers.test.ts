import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findPeerId, peerIdPublicKey } from '../../src/content/peer-id.ts';
import { isCode } from '../../src/lib/errors.ts';
import { parseDescriptor } from '../../src/oci/descriptor.ts';
import { digestOf, findDigest, parseDigest } from '../../src/oci/digest.ts';
import { parseManifest } from '../../src/oci/manifest.ts';
import { findMediaType, isMediaType, mediaTypes } from '../../src/oci/media-type.ts';
import { dockerHub, findNamespace, parseNamespace } from '../../src/oci/namespace.ts';
import { choosePlatform, findPlatform, formatPlatform, isAttestation } from '../../src/oci/platform.ts';
import { formatReference, parseReference } from '../../src/oci/reference.ts';
import { parseRepositoryName } from '../../src/oci/repository-name.ts';
import { parseTag } from '../../src/oci/tag.ts';

const runs = { numRuns: 1000 };
const defaults = { namespace: dockerHub, tag: parseTag('latest') };

const digests = fc
  .tuple(fc.uint8Array({ maxLength: 8 }), fc.constantFrom('sha256' as const, 'sha512' as const))
  .map(([bytes, algorithm]) => digestOf(bytes, algorithm));
const components = fc.stringMatching(/^[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}$/);
const names = fc.array(components, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const tags = fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}$/);
const hosts = fc.constantFrom(
  'docker.io',
  'ghcr.io',
  'localhost',
  'localhost:5000',
  '[::1]:5000',
  '10.0.0.1:80',
  'a-b.c.d:1',
);
/** Text near the grammars, so that random characters reach their deeper branches. */
const nearText = fc.oneof(
  fc.string(),
  fc.string({
    unit: fc.constantFrom('a', '0', 'Z', '.', '_', '-', '/', ':', '@', '[', ']', '%', '\n', 'ü'),
    maxLength: 40,
  }),
  fc.tuple(names, fc.string({ maxLength: 4 }), tags).map((parts) => parts.join('')),
  fc.tuple(digests, fc.string({ maxLength: 2 })).map((parts) => parts.join('')),
);

/** Runs a parser on text: whatever it accepts comes back, whatever it refuses carries its code. */
function outcome<Value>(parse: () => Value, code: string): Value | undefined {
  try {
    return parse();
  } catch (error) {
    if (!isCode(error, code)) throw error;
    return undefined;
  }
}

describe('parsers of text', () => {
  it.each<[string, (text: string) => string, string, boolean]>([
    ['digest', parseDigest, 'OCI_DIGEST_INVALID', true],
    ['repository name', parseRepositoryName, 'OCI_NAME_INVALID', true],
    ['tag', parseTag, 'OCI_TAG_INVALID', true],
    ['namespace', parseNamespace, 'OCI_NAME_INVALID', false],
  ])('%s: refuse with their code only, and change nothing that is accepted', (_, parse, code, isIdentity) => {
    fc.assert(
      fc.property(nearText, (text) => {
        const value = outcome(() => parse(text), code);
        if (value === undefined) return;
        if (isIdentity) expect(value).toBe(text);
        expect(parse(value)).toBe(value);
      }),
      runs,
    );
  });

  it('namespaces are what a URL makes of them', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          nearText,
          hosts,
          fc.domain(),
          fc.ipV4(),
          fc.ipV6().map((ip) => `[${ip}]`),
        ),
        (text) => {
          const namespace = findNamespace(text);
          if (namespace === undefined || namespace.startsWith('[')) return;
          const url = new URL(`https://${namespace}/`);
          expect(`${url.hostname}${url.port === '' ? '' : `:${url.port}`}`).toBe(namespace.replace(/:443$/, ''));
          expect([url.username, url.pathname]).toEqual(['', '/']);
        },
      ),
      runs,
    );
  });

  it('references are read back from what is written', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          nearText,
          fc.tuple(hosts, nearText).map((parts) => parts.join('/')),
        ),
        (text) => {
          const reference = outcome(() => parseReference(text, defaults), 'OCI_REFERENCE_INVALID');
          if (reference === undefined) return;
          expect(parseReference(formatReference(reference), defaults)).toEqual(reference);
        },
      ),
      runs,
    );
  });

  it('references made of good parts are accepted with all of them', () => {
    fc.assert(
      fc.property(hosts, names, fc.option(tags), fc.option(digests), (host, name, tag, digest) => {
        const text = `${host}/${name}${tag === null ? '' : `:${tag}`}${digest === null ? '' : `@${digest}`}`;
        const reference = parseReference(text, defaults);
        expect(reference.repository.namespace).toBe(host);
        expect(reference.repository.name.endsWith(name)).toBe(true);
        expect(reference.tag).toBe(tag ?? (digest === null ? 'latest' : undefined));
        expect(reference.digest).toBe(digest ?? undefined);
      }),
      runs,
    );
  });

  it('the rest of them never throw', () => {
    fc.assert(
      fc.property(nearText, (text) => {
        const digest = findDigest(text);
        if (digest !== undefined) expect(parseDigest(digest)).toBe(text);
        const mediaType = findMediaType(text);
        if (mediaType !== undefined) expect(isMediaType(mediaType)).toBe(true);
        const peer = findPeerId(text);
        if (peer !== undefined) peerIdPublicKey(peer);
        const platform = findPlatform(text);
        if (platform !== undefined) expect(formatPlatform(platform)).toBe(text);
      }),
      runs,
    );
  });
});

const descriptors = fc.record(
  {
    mediaType: fc.constantFrom(...Object.values(mediaTypes)),
    digest: digests,
    size: fc.constant(10),
    platform: fc.record({
      os: fc.constantFrom('linux', 'unknown', 'windows'),
      architecture: fc.constantFrom('amd64', 'unknown', 'arm'),
    }),
    annotations: fc.dictionary(fc.string(), fc.string()),
    urls: fc.array(fc.webUrl(), { maxLength: 2 }),
    artifactType: fc.constantFrom('', 'application/x'),
  },
  { requiredKeys: ['mediaType', 'digest', 'size'] },
);
const damaged = fc.oneof({ weight: 8, arbitrary: descriptors }, { weight: 1, arbitrary: fc.jsonValue() });
const documents = fc.record(
  {
    schemaVersion: fc.constantFrom(2, 2, 2, 1, '2'),
    mediaType: fc.constantFrom(mediaTypes.ociManifest, mediaTypes.ociIndex, mediaTypes.dockerManifest, '', 7, null),
    config: damaged,
    layers: fc.oneof(fc.array(damaged), fc.constant(null)),
    manifests: fc.oneof(fc.array(damaged), fc.constant(null)),
    subject: damaged,
    artifactType: fc.jsonValue(),
    annotations: fc.jsonValue(),
  },
  { requiredKeys: ['schemaVersion'] },
);

describe('manifests', () => {
  const parse = (bytes: Uint8Array, contentType?: string) =>
    outcome(() => parseManifest(bytes, contentType), 'OCI_MANIFEST_INVALID');

  it('random bytes, JSON and Content-Types are refused with the code or accepted', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.json().map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(bytes, fc.option(fc.string(), { nil: undefined }), (...input) => void parse(...input)),
      runs,
    );
  });

  it('accepted documents keep their invariants', () => {
    let accepted = 0;
    fc.assert(
      fc.property(documents, fc.constantFrom(undefined, ...Object.values(mediaTypes)), (document, contentType) => {
        const parsed = parse(Buffer.from(JSON.stringify(document)), contentType);
        if (parsed === undefined) return;
        accepted += 1;
        const listed = parsed.kind === 'index' ? parsed.manifests : [parsed.config, ...(parsed.layers ?? [])];
        expect(parsed.kind === 'index').toBe(parsed.config === undefined);
        expect(new Set(parsed.children.map(({ digest }) => digest))).toEqual(
          new Set(listed?.map((one) => one?.digest)),
        );
        expect(new Set(parsed.children.map(({ digest }) => digest)).size).toBe(parsed.children.length);
        for (const child of parsed.children) expect(Number.isSafeInteger(child.sizeBytes)).toBe(true);
        if (contentType !== undefined) expect(parsed.mediaType).toBe(contentType);
      }),
      { numRuns: 3000 },
    );
    expect(accepted).toBeGreaterThan(50);
  });

  it('a valid image survives any one byte changed, added or cut with the code at worst', () => {
    const image = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        config: { mediaType: mediaTypes.ociConfig, digest: digestOf(Buffer.from('c')), size: 1 },
        layers: [{ mediaType: mediaTypes.ociLayer, digest: digestOf(Buffer.from('l')), size: 2, urls: ['x'] }],
      }),
    );
    fc.assert(
      fc.property(fc.nat(image.length - 1), fc.uint8Array({ maxLength: 2 }), fc.nat(2), (at, bytes, cut) => {
        parse(Buffer.concat([image.subarray(0, at), bytes, image.subarray(at + cut)]));
      }),
      { numRuns: 3000 },
    );
  });

  it('the chosen child of an index is one of its own and no attestation', () => {
    const wanted = fc.constantFrom('linux/amd64', 'linux/arm/v7', 'unknown/unknown');
    fc.assert(
      fc.property(fc.array(descriptors), wanted, (written, text) => {
        const children = written.map((value) => parseDescriptor(value, 'x'));
        const platform = findPlatform(text);
        const chosen = platform && choosePlatform(children, platform);
        if (chosen === undefined) return;
        expect(children).toContain(chosen);
        expect(isAttestation(chosen)).toBe(false);
      }),
      runs,
    );
  });
});
