import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { base58btc } from 'multiformats/bases/base58';
import { describe, expect, it } from 'vitest';
import { Bitfield } from '../../../src/content/bitfield.ts';
import { computeSignedPieces } from '../../../src/content/compute-signed-pieces.ts';
import { findPeerId, type PeerId, peerIdPublicKey } from '../../../src/content/peer-id.ts';
import { pieceHash } from '../../../src/content/piece-hash.ts';
import { extentOf, extentPieceRange, pieceAt, pieceRange, planPieces } from '../../../src/content/piece-plan.ts';
import { isSignatureValid, type NodeIdentity, signPiece } from '../../../src/content/signed-piece.ts';
import { digestOf } from '../../../src/oci/digest.ts';

const never = new AbortController().signal;
const MiB = 1024 * 1024;

function identityOf(keys: { publicKey: KeyObject; privateKey: KeyObject }): NodeIdentity {
  const raw = keys.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const text = base58btc.baseEncode(Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20, ...raw));
  const peerId = findPeerId(text);
  if (peerId === undefined) throw new Error('a made-up peer ID must be readable');
  return { peerId, sign: (message) => sign(null, message, keys.privateKey) };
}

const identity = identityOf(generateKeyPairSync('ed25519'));
const other = identityOf(generateKeyPairSync('ed25519'));

describe('peer IDs', () => {
  it('lead to their key and nothing else is one', () => {
    expect(identity.peerId).toMatch(/^12D3KooW/);
    expect(peerIdPublicKey(identity.peerId).asymmetricKeyType).toBe('ed25519');
    const secp = base58btc.baseEncode(Uint8Array.of(0x00, 0x24, 0x08, 0x02, 0x12, 0x20, ...new Uint8Array(32)));
    const longer = base58btc.baseEncode(Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20, ...new Uint8Array(33)));
    for (const text of ['', 'x'.repeat(1000), '0'.repeat(52), secp, longer, `${identity.peerId} `]) {
      expect(findPeerId(text), text).toBeUndefined();
    }
    expect(() => peerIdPublicKey('QmNot' as PeerId)).toThrow(TypeError);
  });
});

describe('signed pieces', () => {
  const blob = { digest: digestOf(Buffer.from('blob')), sizeBytes: 5 * MiB };
  const piece = signPiece(identity, blob, 3, pieceHash(Buffer.from('piece')));

  it('are valid for their blob, index, hash and signer only', () => {
    expect(isSignatureValid(blob, piece)).toBe(true);
    expect(isSignatureValid(blob, piece)).toBe(true);
    expect(isSignatureValid({ ...blob, sizeBytes: 1 }, piece)).toBe(false);
    expect(isSignatureValid({ ...blob, digest: digestOf(Buffer.from('x')) }, piece)).toBe(false);
    expect(isSignatureValid(blob, { ...piece, index: 2 })).toBe(false);
    expect(isSignatureValid(blob, { ...piece, hash: pieceHash(Buffer.from('other')) })).toBe(false);
    expect(isSignatureValid(blob, { ...piece, signer: other.peerId })).toBe(false);
    expect(isSignatureValid(blob, { ...piece, signature: piece.signature.subarray(1) })).toBe(false);
    expect(isSignatureValid(blob, { ...piece, hash: piece.hash.subarray(1) })).toBe(false);
  });

  it('are computed for a whole blob, however short its reads are', async () => {
    const bytes = Buffer.alloc(2 * MiB + 5, 'abc');
    const key = { digest: digestOf(bytes), sizeBytes: bytes.length };
    const read = async (target: Uint8Array, position: number) => bytes.copy(target.subarray(0, 700_000), 0, position);
    const pieces = await computeSignedPieces(identity, key, read, never);
    const plan = planPieces(bytes.length);
    expect(pieces.map(({ index }) => index)).toEqual(Array.from({ length: plan.pieceCount }, (_, index) => index));
    expect(pieces.every((signed) => isSignatureValid(key, signed))).toBe(true);
    expect(pieces.at(-1)?.hash).toEqual(pieceHash(bytes.subarray(pieceRange(plan, plan.pieceCount - 1).start)));
    expect(await computeSignedPieces(identity, { ...key, sizeBytes: 0 }, read, never)).toEqual([]);
    await expect(computeSignedPieces(identity, { ...key, sizeBytes: 4 * MiB }, read, never)).rejects.toMatchObject({
      code: 'CONTENT_SHORT',
      details: { positionBytes: bytes.length },
    });
    await expect(computeSignedPieces(identity, key, read, AbortSignal.abort(new Error('left')))).rejects.toThrow(
      'left',
    );
  });

  it('hash to BLAKE3', () => {
    // The BLAKE3 team's own test vector for the empty input.
    expect(Buffer.from(pieceHash(new Uint8Array())).toString('hex')).toBe(
      'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262',
    );
  });
});

describe('piece plan', () => {
  it('has nothing to cut in an empty blob and one piece of a byte', () => {
    expect(planPieces(0)).toMatchObject({ sizeBytes: 0, pieceCount: 0, extentCount: 0 });
    expect(planPieces(1)).toMatchObject({ sizeBytes: 1, pieceCount: 1, extentCount: 1 });
    expect(pieceRange(planPieces(1), 0)).toEqual({ start: 0, end: 1 });
  });

  it.each([3 * MiB + 10, 64 * MiB + 1, 512 * MiB + 1, 4096 * MiB + 1, 50_000 * MiB])(
    'cuts %i bytes into pieces and extents without gap or overlap, none larger than it says',
    (sizeBytes) => {
      const plan = planPieces(sizeBytes);
      let end = 0;
      for (let piece = 0; piece < plan.pieceCount; piece += 1) {
        const range = pieceRange(plan, piece);
        if (range.start !== end || range.end <= end || range.end - end > plan.pieceBytes)
          expect({ piece, range, end }).toBe('next');
        if (pieceAt(plan, range.start) !== piece || pieceAt(plan, range.end - 1) !== piece) expect(piece).toBe('found');
        end = range.end;
      }
      expect(end).toBe(sizeBytes);
      let next = 0;
      for (let extent = 0; extent < plan.extentCount; extent += 1) {
        const range = extentPieceRange(plan, extent);
        if (range.start !== next || range.end <= next) expect({ extent, range, next }).toBe('next');
        if (extentOf(plan, range.start) !== extent || extentOf(plan, range.end - 1) !== extent)
          expect(extent).toBe('found');
        next = range.end;
      }
      expect(next).toBe(plan.pieceCount);
    },
  );
});

describe('Bitfield', () => {
  it('keeps what was added and counts it', () => {
    const bitfield = new Bitfield(10);
    expect([bitfield.add(0), bitfield.add(0), bitfield.add(9), bitfield.delete(5), bitfield.delete(0)]).toEqual([
      true,
      false,
      true,
      false,
      true,
    ]);
    expect([bitfield.count, bitfield.isFull, [...bitfield]]).toEqual([1, false, [9]]);
    expect([...bitfield.encode()]).toEqual([0, 0x40]);
    expect([bitfield.has(-1), bitfield.has(10)]).toEqual([false, false]);
    expect([Bitfield.full(9).runFrom(2), Bitfield.full(9).runFrom(9), new Bitfield(0).isFull]).toEqual([7, 0, true]);
  });

  it.each([-1, 10, 1.5, Number.NaN])('refuses the index %d', (index) => {
    expect(() => new Bitfield(10).add(index)).toThrow(RangeError);
    expect(() => new Bitfield(10).delete(index)).toThrow(RangeError);
  });

  it('reads its wire form and nothing else', () => {
    expect([...(Bitfield.decode(10, Uint8Array.of(0x80, 0x40)) ?? [])]).toEqual([0, 9]);
    expect(Bitfield.decode(16, Uint8Array.of(0x80, 0x01))?.count).toBe(2);
    expect(Bitfield.decode(0, new Uint8Array())?.size).toBe(0);
    expect(Bitfield.decode(10, Uint8Array.of(0x80))).toBeUndefined();
    expect(Bitfield.decode(10, Uint8Array.of(0x80, 0x20))).toBeUndefined();
  });
});
