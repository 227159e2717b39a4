import { findPeerId } from '../../content/peer-id.ts';
import type { SignedPiece } from '../../content/signed-piece.ts';
import { WireError, WireReader, WireWriter } from '../../lib/wire.ts';

/**
 * The header that carries a run's hashes and signatures: base64 of (signer text, 32-byte hash, 64-byte signature) per piece.
 * Indexes are not in it: they follow from the request.
 */
export const piecesHeader = 'shoal-pieces';

/** Pieces in one request; more would make heads long and transfers lumpy. */
export const maxRunPieces = 16;

// A peer ID has at most 56 characters (content/peer-id.ts).
const maxSignerBytes = 56;
/** Base64 of the longest header, with room for padding. */
export const maxPiecesHeaderBytes = Math.ceil(((1 + maxSignerBytes + 32 + 64) * maxRunPieces * 4) / 3) + 4;

export function packPieces(pieces: readonly SignedPiece[]): string {
  const writer = new WireWriter();
  for (const piece of pieces) writer.text(piece.signer).fixed(piece.hash).fixed(piece.signature);
  return Buffer.from(writer.finish()).toString('base64');
}

/** Reads the header of a run. @throws WIRE_INVALID */
export function unpackPieces(text: string, first: number, count: number): readonly SignedPiece[] {
  if (text.length > maxPiecesHeaderBytes || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    throw new WireError('WIRE_INVALID', 'pieces header is not base64 or too long');
  }
  const reader = new WireReader(Buffer.from(text, 'base64'));
  const pieces: SignedPiece[] = [];
  for (let at = 0; at < count; at += 1) {
    const signer = findPeerId(reader.text(maxSignerBytes));
    if (signer === undefined) throw new WireError('WIRE_INVALID', 'a signer is not a peer ID');
    // Copies: a piece's signature is kept much longer than the head it came in.
    const hash = Uint8Array.from(reader.fixed(32));
    pieces.push({ index: first + at, hash, signer, signature: Uint8Array.from(reader.fixed(64)) });
  }
  reader.end();
  return pieces;
}
