import { findPeerId, type PeerId } from '../../content/peer-id.ts';
import type { SignedPiece } from '../../content/signed-piece.ts';
import { decodeRecord, encodeRecord, type Fields } from './records.ts';

/**
 * The signed pieces of a complete blob as one value: the few signers by name, then one row per piece in base64:
 * index u32, signer u16, hash 32, signature 64. A 1 GiB blob takes 34 KiB.
 */
const rowBytes = 4 + 2 + 32 + 64;

export function encodeSignedPieces(pieces: readonly SignedPiece[]): string {
  const signers = [...new Set(pieces.map((piece) => piece.signer))];
  const places = new Map(signers.map((signer, place) => [signer, place]));
  const rows = Buffer.alloc(pieces.length * rowBytes);
  for (const [row, piece] of pieces.entries()) {
    const at = row * rowBytes;
    rows.writeUInt32BE(piece.index, at);
    rows.writeUInt16BE(places.get(piece.signer) ?? 0, at + 4);
    rows.set(piece.hash, at + 6);
    rows.set(piece.signature, at + 38);
  }
  return encodeRecord({ signers, rows: rows.toString('base64') });
}

/** @throws STORE_CORRUPT */
export function decodeSignedPieces(key: string, text: string): SignedPiece[] {
  return decodeRecord(key, text, (fields: Fields) => {
    const signers = fields.list('signers', readSigner);
    const rows = Buffer.from(fields.text('rows'), 'base64');
    if (rows.length % rowBytes !== 0) throw new TypeError('rows end inside a row');
    return Array.from({ length: rows.length / rowBytes }, (_, row) => {
      const bytes = rows.subarray(row * rowBytes, (row + 1) * rowBytes);
      const signer = signers[bytes.readUInt16BE(4)];
      if (signer === undefined) throw new TypeError('row names no signer');
      return {
        index: bytes.readUInt32BE(0),
        hash: Uint8Array.from(bytes.subarray(6, 38)),
        signer,
        signature: Uint8Array.from(bytes.subarray(38)),
      };
    });
  });
}

function readSigner(value: unknown): PeerId {
  const signer = typeof value === 'string' ? findPeerId(value) : undefined;
  if (signer === undefined) throw new TypeError('signer is no peer ID');
  return signer;
}
