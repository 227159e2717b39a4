import { crc32 } from 'node:zlib';
import { findPeerId } from '../../content/peer-id.ts';
import type { SignedPiece } from '../../content/signed-piece.ts';
import type { Files } from '../files/files.ts';
import { OpenFile, openIfThere } from '../files/open-file.ts';

/**
 * Which pieces an ingest holds: a header, then records of one length, each with its own check sum, at slots given out in
 * order. A slot whose write failed or was torn does not fit its check sum and counts for nothing; later slots stay readable.
 * Written after the piece's bytes and without fsync: that survives kill -9, and after a power cut the pieces are hashed anyway.
 * Record: kind u8, signer length u8, 2 zero, index u32, hash 32, signature 64, signer 56, crc32 u32; header: the same length
 * with magic and blob size. All numbers big-endian.
 */
export const recordBytes = 164;
const checkAt = recordBytes - 4;
const signerAt = 104;
const signerBytes = checkAt - signerAt;
const magic = Buffer.from('shoal pieces 1\n\0', 'latin1');
const kindHeld = 1;
const kindDropped = 2;
// Read in steps, so that the journal of a huge blob does not need a buffer of its own size.
const readBytes = recordBytes * 1024;

export class PieceJournal {
  readonly #file: OpenFile;
  #nextSlot: number;

  private constructor(file: OpenFile, nextSlot: number) {
    this.#file = file;
    this.#nextSlot = nextSlot;
  }

  /** Starts a journal that lists the pieces, over whatever was there. */
  static async create(
    files: Files,
    path: string,
    sizeBytes: number,
    pieces: Iterable<SignedPiece>,
  ): Promise<PieceJournal> {
    const records = [encodeHeader(sizeBytes), ...Array.from(pieces, encodeHeld)];
    const file = await OpenFile.open(files, path, 'replace');
    try {
      await file.write(Buffer.concat(records), 0);
      return new PieceJournal(file, records.length);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Reads what an earlier life wrote, by index; undefined when there is no journal of a blob of this size. */
  static async read(files: Files, path: string, sizeBytes: number): Promise<Map<number, SignedPiece> | undefined> {
    const file = await openIfThere(files, path, 'read');
    if (file === undefined) return undefined;
    try {
      const pieces = new Map<number, SignedPiece>();
      const buffer = Buffer.allocUnsafe(readBytes);
      for (let position = 0; ; position += readBytes) {
        const length = await file.readFully(buffer, position);
        for (let at = 0; at + recordBytes <= length; at += recordBytes) {
          const record = buffer.subarray(at, at + recordBytes);
          if (position + at > 0) applyRecord(record, pieces);
          else if (!record.equals(encodeHeader(sizeBytes))) return undefined;
        }
        if (position === 0 && length < recordBytes) return undefined;
        if (length < readBytes) return pieces;
      }
    } finally {
      await file.close();
    }
  }

  async append(piece: SignedPiece): Promise<void> {
    await this.#write(encodeHeld(piece));
  }

  async appendDropped(index: number): Promise<void> {
    const record = Buffer.alloc(recordBytes);
    record.writeUInt8(kindDropped, 0);
    record.writeUInt32BE(index, 4);
    await this.#write(sealed(record));
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #write(record: Buffer): Promise<void> {
    const slot = this.#nextSlot;
    this.#nextSlot += 1;
    return this.#file.write(record, slot * recordBytes);
  }
}

function encodeHeader(sizeBytes: number): Buffer {
  const record = Buffer.alloc(recordBytes);
  record.set(magic);
  record.writeBigUInt64BE(BigInt(sizeBytes), magic.length);
  return sealed(record);
}

/** Encodes the record of a piece that is held. */
export function encodeHeld(piece: SignedPiece): Buffer {
  const record = Buffer.alloc(recordBytes);
  const signer = Buffer.from(piece.signer, 'latin1');
  if (piece.hash.length !== 32 || piece.signature.length !== 64 || signer.length > signerBytes) {
    throw new RangeError('signed piece does not have the lengths of BLAKE3-256 and Ed25519');
  }
  record.writeUInt8(kindHeld, 0);
  record.writeUInt8(signer.length, 1);
  record.writeUInt32BE(piece.index, 4);
  record.set(piece.hash, 8);
  record.set(piece.signature, 40);
  record.set(signer, signerAt);
  return sealed(record);
}

function applyRecord(record: Buffer, pieces: Map<number, SignedPiece>): void {
  if (!isSealed(record)) return;
  if (record.readUInt8(0) === kindDropped) pieces.delete(record.readUInt32BE(4));
  const held = decodeHeld(record);
  if (held !== undefined) pieces.set(held.index, held);
}

/** Reads a record of a piece that is held; undefined = it is none, or torn. */
export function decodeHeld(record: Buffer): SignedPiece | undefined {
  if (!isSealed(record) || record.readUInt8(0) !== kindHeld) return undefined;
  const signer = findPeerId(record.toString('latin1', signerAt, signerAt + record.readUInt8(1)));
  if (signer === undefined) return undefined;
  const hash = Uint8Array.from(record.subarray(8, 40));
  const signature = Uint8Array.from(record.subarray(40, signerAt));
  return { index: record.readUInt32BE(4), hash, signer, signature };
}

function isSealed(record: Buffer): boolean {
  return record.readUInt32BE(checkAt) === crc32(record.subarray(0, checkAt));
}

function sealed(record: Buffer): Buffer {
  record.writeUInt32BE(crc32(record.subarray(0, checkAt)), checkAt);
  return record;
}
