import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SignedPiece } from '../../src/content/signed-piece.ts';
import { isCode } from '../../src/lib/errors.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { generateIdentity } from '../../src/peer/identity.ts';
import { findDialAddress } from '../../src/peer/libp2p/address.ts';
import {
  decodeSessionMessage,
  encodeSessionMessage,
  type SessionMessage,
} from '../../src/peer/libp2p/session-message.ts';
import { findRange, findRunRequest, formatRange, formatTarget } from '../../src/peer/tls/bulk-request.ts';
import { maxPiecesHeaderBytes, maxRunPieces, packPieces, unpackPieces } from '../../src/peer/tls/piece-header.ts';
import { findResponseHead } from '../../src/peer/tls/response-head.ts';

const signers = await Promise.all(
  [1, 2, 3].map(async (seed) => (await generateIdentity(new Uint8Array(32).fill(seed))).peerId),
);

/** Runs a decoder on hostile input: it may refuse with the one code, and nothing else. */
function refusesOrReads(decode: () => unknown): void {
  try {
    decode();
  } catch (error) {
    if (!isCode(error, 'WIRE_INVALID')) throw error;
  }
}

const signedPiece = (index: number): fc.Arbitrary<SignedPiece> =>
  fc.record({
    index: fc.constant(index),
    hash: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    signer: fc.constantFrom(...signers),
    signature: fc.uint8Array({ minLength: 64, maxLength: 64 }),
  });

describe('pieces header', () => {
  const run = fc
    .tuple(fc.nat(100_000), fc.integer({ min: 1, max: maxRunPieces }))
    .chain(([first, count]) => fc.tuple(...Array.from({ length: count }, (_, at) => signedPiece(first + at))));

  it('comes back as it was packed, within its bound', () => {
    fc.assert(
      fc.property(run, (pieces) => {
        const text = packPieces(pieces);
        expect(text.length).toBeLessThanOrEqual(maxPiecesHeaderBytes);
        expect(unpackPieces(text, pieces[0]?.index ?? 0, pieces.length)).toEqual(pieces);
      }),
    );
  });

  it('is refused for another count', () => {
    fc.assert(
      fc.property(run, (pieces) => {
        expect(() => unpackPieces(packPieces(pieces), 0, pieces.length + 1)).toThrow();
        expect(() => unpackPieces(packPieces(pieces), 0, pieces.length - 1)).toThrow();
      }),
    );
  });

  it('survives random text and bytes', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(20), (text, count) => refusesOrReads(() => unpackPieces(text, 0, count))),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(4), (bytes, count) =>
        refusesOrReads(() => unpackPieces(Buffer.from(bytes).toString('base64'), 0, count)),
      ),
    );
  });
});

describe('bulk request', () => {
  it('comes back as it was formatted', () => {
    const digest = fc.uint8Array().chain((bytes) => fc.constantFrom(digestOf(bytes), digestOf(bytes, 'sha512')));
    fc.assert(
      fc.property(digest, fc.nat(1_000_000), fc.integer({ min: 1, max: 999 }), (value, first, count) => {
        const request = { digest: value, first, count };
        expect(findRunRequest(formatTarget(request))).toEqual(request);
      }),
    );
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 2 ** 40 }), (start, length) => {
        expect(findRange(formatRange({ start, end: start + length }))).toEqual({ start, end: start + length });
      }),
    );
  });

  it('survives random text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        findRunRequest(text);
        findRange(text);
        findRunRequest(`/v1/blobs/${text}?first=0&count=1`);
      }),
    );
  });
});

describe('response head', () => {
  it('reads what is well formed and says how long it is', () => {
    const name = fc.stringMatching(/^x-[a-z]{1,12}$/);
    const value = fc.stringMatching(/^[!-~]{0,40}$/);
    fc.assert(
      fc.property(fc.dictionary(name, value, { maxKeys: 20 }), fc.uint8Array(), (headers, body) => {
        const lines = Object.entries(headers).map(([key, text]) => `${key}: ${text}\r\n`);
        const text = `HTTP/1.1 206 Partial Content\r\n${lines.join('')}\r\n`;
        const head = findResponseHead(Buffer.concat([Buffer.from(text, 'latin1'), body]));
        expect(head).toMatchObject({ status: 206, length: text.length });
        expect(Object.fromEntries(head?.headers ?? [])).toEqual({ ...headers });
      }),
    );
  });

  it('survives random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        refusesOrReads(() => findResponseHead(Buffer.concat([bytes, Buffer.from('\r\n\r\n')])));
        refusesOrReads(() =>
          findResponseHead(Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\n'), bytes, Buffer.from('\r\n\r\n')])),
        );
      }),
    );
  });
});

describe('session message', () => {
  const message: fc.Arbitrary<SessionMessage> = fc.oneof(
    fc.record({
      kind: fc.constant('hello' as const),
      major: fc.nat(65_535),
      minor: fc.nat(65_535),
      version: fc.stringMatching(/^[ -~]{0,48}$/),
    }),
    fc.record({ kind: fc.constant('refusal' as const), reason: fc.constantFrom('version', 'banned', 'protocol') }),
    fc.constantFrom({ kind: 'ready' as const }, { kind: 'ping' as const }, { kind: 'pong' as const }),
  );

  it('comes back as it was encoded', () => {
    fc.assert(
      fc.property(message, (value) => {
        expect(decodeSessionMessage(encodeSessionMessage(value))).toEqual(value);
      }),
    );
  });

  it('survives random bytes', () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => refusesOrReads(() => decodeSessionMessage(bytes))));
  });
});

describe('dial address', () => {
  it('never throws', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `/${text}`),
          fc.string().map((text) => `${text}:1`),
        ),
        (text) => {
          findDialAddress(text);
        },
      ),
    );
  });
});
