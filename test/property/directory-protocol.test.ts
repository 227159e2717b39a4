import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type DigestKey, digestKey, digestKeyOfBytes, digestOfKey } from '../../src/discovery/digest-key.ts';
import type { Provider } from '../../src/discovery/directory.ts';
import {
  type DirectoryMessage,
  type DirectoryRequest,
  decodeDirectoryMessage,
  encodeAnswer,
  encodePush,
  encodeRequest,
  encodeSynced,
  type FoundAt,
  type FoundFor,
} from '../../src/discovery/directory-protocol.ts';
import { isCode } from '../../src/lib/errors.ts';
import { maxMessageBytes } from '../../src/peer/peer-network.ts';
import { testPeer } from '../support/discovery.ts';

const peers = Array.from({ length: 200 }, (_, at) => testPeer(at));
const holding = fc.constantFrom('fetching' as const, 'complete' as const);
const key = fc
  .oneof(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.uint8Array({ minLength: 64, maxLength: 64 }))
  .map((bytes) => digestKeyOfBytes(bytes));
const request = fc.nat(0xffff_ffff);
const word = fc.nat(0xffff_ffff);
const provider: fc.Arbitrary<Provider> = fc.record({ peer: fc.constantFrom(...peers), holding, rank: word });
const providers = fc.uniqueArray(provider, { maxLength: 64, selector: (each) => each.peer });

const requests: fc.Arbitrary<DirectoryRequest> = fc.oneof(
  fc.record({
    kind: fc.constant('announce' as const),
    request,
    entries: fc.array(fc.record({ key, holding }), { maxLength: 50 }),
  }),
  fc.record({
    kind: fc.constantFrom('find' as const, 'withdraw' as const),
    request,
    keys: fc.array(key, { maxLength: 50 }),
  }),
  fc.record({ kind: fc.constant('leave' as const), request }),
  fc.record({
    kind: fc.constant('sync' as const),
    request,
    summary: fc.record({ count: word, high: word, low: word }),
  }),
);

describe('directory protocol', () => {
  it('reads back every request', () => {
    fc.assert(
      fc.property(requests, (message) => {
        expect(decodeDirectoryMessage(encodeRequest(message))).toEqual(message);
      }),
    );
  });

  it('reads back answers, in as many messages as they need', () => {
    const found: fc.Arbitrary<FoundAt[]> = fc.array(fc.record({ index: fc.nat(999), providers }), { maxLength: 300 });
    fc.assert(
      fc.property(request, found, fc.boolean(), (id, entries, isFull) => {
        const messages = encodeAnswer(id, entries, isFull);
        const parts = messages.map((bytes) => decodeDirectoryMessage(bytes) as DirectoryMessage & { kind: 'answer' });
        expect(messages.every((bytes) => bytes.length <= maxMessageBytes)).toBe(true);
        expect(parts.flatMap((part) => part.found)).toEqual(entries);
        expect(parts.map((part) => part.isLast)).toEqual(parts.map((_, at) => at === parts.length - 1));
        expect(parts.every((part) => part.request === id && part.isFull === isFull)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it('splits an answer that is larger than a message', () => {
    const all = peers.slice(0, 64).map((peer, rank): Provider => ({ peer, holding: 'complete', rank: rank + 1e9 }));
    const entries = Array.from({ length: 1000 }, (_, index) => ({ index, providers: all }));
    const messages = encodeAnswer(1, entries, false);
    expect(messages.length).toBeGreaterThan(1);
    expect(Math.max(...messages.map((bytes) => bytes.length))).toBeLessThanOrEqual(maxMessageBytes);
    const pushes = encodePush(entries.map(({ index }) => ({ key: keyAt(index), providers: all })));
    expect(Math.max(...pushes.map((bytes) => bytes.length))).toBeLessThanOrEqual(maxMessageBytes);
  });

  it('reads back pushes and synced', () => {
    const found: fc.Arbitrary<FoundFor[]> = fc.array(fc.record({ key, providers }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(found, request, fc.boolean(), (entries, id, isSame) => {
        const parts = encodePush(entries).map(
          (bytes) => decodeDirectoryMessage(bytes) as DirectoryMessage & { kind: 'push' },
        );
        expect(parts.flatMap((part) => part.found)).toEqual(entries);
        expect(decodeDirectoryMessage(encodeSynced(id, isSame))).toEqual({ kind: 'synced', request: id, isSame });
      }),
    );
  });

  it('gives a message or WIRE_INVALID for any bytes', () => {
    const mutated = fc.tuple(requests, fc.nat(), fc.nat(255)).map(([message, at, byte]) => {
      const bytes = Uint8Array.from(encodeRequest(message));
      bytes[at % bytes.length] = byte;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 2000 }), mutated), (bytes) => {
        try {
          decodeDirectoryMessage(bytes);
        } catch (error) {
          if (!isCode(error, 'WIRE_INVALID')) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('keeps a full batch of SHA-512 digests within a message', () => {
    const entries = Array.from({ length: 1000 }, () => ({
      key: 'x'.repeat(64) as DigestKey,
      holding: 'complete' as const,
    }));
    expect(encodeRequest({ kind: 'announce', request: 1, entries }).length).toBeLessThan(maxMessageBytes);
  });

  it('turns keys into digests and back', () => {
    fc.assert(
      fc.property(key, (each) => {
        expect(digestKey(digestOfKey(each))).toBe(each);
      }),
    );
  });
});

function keyAt(index: number): DigestKey {
  return digestKeyOfBytes(Buffer.alloc(32, index));
}
