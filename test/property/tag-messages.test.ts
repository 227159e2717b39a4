import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeTagAnswer,
  decodeTagRequest,
  encodeTagAnswer,
  encodeTagRequest,
  maxManifestBytes,
  maxSliceBytes,
  maxWaitMs,
  type TagAnswer,
  type TagRequest,
} from '../../src/discovery/tags/tag-messages.ts';
import { isCode } from '../../src/lib/errors.ts';
import { digestOf } from '../../src/oci/digest.ts';

const digests = fc
  .tuple(fc.string(), fc.constantFrom('sha256' as const, 'sha512' as const))
  .map(([text, algorithm]) => digestOf(Buffer.from(text), algorithm));
const ids = fc.nat({ max: 2 ** 32 - 1 });
const texts = fc.string({ maxLength: 60, unit: 'grapheme' });
const sizes = fc.nat({ max: maxManifestBytes });
const requests: fc.Arbitrary<TagRequest> = fc.oneof(
  fc.record({ kind: fc.constant('tag' as const), namespace: texts, name: texts, tag: fc.string({ maxLength: 30 }) }),
  fc.record({
    kind: fc.constant('manifest' as const),
    digest: digests,
    offset: sizes,
    waitMs: fc.nat({ max: maxWaitMs }),
  }),
  fc.record({ kind: fc.constant('size' as const), digest: digests }),
);
const answers: fc.Arbitrary<TagAnswer> = fc.oneof(
  fc.record({ kind: fc.constant('absent' as const) }),
  fc.record({ kind: fc.constant('size' as const), sizeBytes: fc.maxSafeNat() }),
  fc.record({
    kind: fc.constant('tag' as const),
    digest: digests,
    mediaType: texts,
    sizeBytes: sizes,
    confirmedAtMs: fc.maxSafeNat(),
  }),
  fc.record({
    kind: fc.constant('manifest' as const),
    mediaType: texts,
    sizeBytes: sizes,
    slice: fc.uint8Array({ maxLength: 2000 }),
  }),
);

describe('messages of /shoal/tags/1', () => {
  it('requests come back as they were', () => {
    fc.assert(
      fc.property(ids, requests, (id, message) => {
        expect(decodeTagRequest(encodeTagRequest({ id, message }))).toEqual({ id, message });
      }),
    );
  });

  it('answers come back as they were', () => {
    fc.assert(
      fc.property(ids, answers, (id, message) => {
        const decoded = decodeTagAnswer(encodeTagAnswer({ id, message }));
        const slice = decoded.message.kind === 'manifest' ? { slice: Uint8Array.from(decoded.message.slice) } : {};
        expect({ ...decoded, message: { ...decoded.message, ...slice } }).toEqual({ id, message });
      }),
    );
  });

  it('other bytes are refused with the one error of the wire', () => {
    const decoders = [decodeTagRequest, decodeTagAnswer];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        for (const decode of decoders) {
          try {
            decode(bytes);
          } catch (error) {
            expect(isCode(error, 'WIRE_INVALID')).toBe(true);
          }
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('a slice over the bound is refused', () => {
    const message: TagAnswer = {
      kind: 'manifest',
      mediaType: 'x/y',
      sizeBytes: 1,
      slice: Buffer.alloc(maxSliceBytes + 1),
    };
    expect(() => decodeTagAnswer(encodeTagAnswer({ id: 1, message }))).toThrow();
  });
});
