import { findPeerId } from '../content/peer-id.ts';
import type { SignedPiece } from '../content/signed-piece.ts';
import { WireError, WireReader, WireWriter } from '../lib/wire.ts';
import { type Digest, findDigest } from '../oci/digest.ts';
import { markBytes } from './piece-mark.ts';

/**
 * What members of swarms say to each other, on `/shoal/swarm/1` until a direct channel is there. A frame carries any number of messages; each starts with its kind.
 * Strictly parsed: an unknown kind or a field out of bounds makes the whole frame WIRE_INVALID.
 */
export const swarmProtocol = 'swarm';

export type SwarmMessage =
  /** First on every channel: where this node's bulk plane listens (absent host = where the connection comes from), and its zone. */
  | { readonly kind: 'hello'; readonly bulkPort: number; readonly bulkHost?: string | undefined; readonly zone: string }
  /** What this node holds of a blob; `pieces` undefined = all. `wantsReply` asks the other for the same. */
  | {
      readonly kind: 'state';
      readonly digest: Digest;
      readonly sizeBytes: number;
      readonly pieces: Uint8Array | undefined;
      readonly isFetching: boolean;
      readonly canAskOrigin: boolean;
      readonly wantsReply: boolean;
    }
  /** Nothing of this blob is here (any more). */
  | { readonly kind: 'leave'; readonly digest: Digest }
  /** Pieces that are here now, and the mark of each (`piece-mark.ts`), one behind the other. */
  | {
      readonly kind: 'have';
      readonly digest: Digest;
      readonly pieces: readonly number[];
      readonly marks: Uint8Array;
    }
  /** This node fetches the extent from the origin, and how far it is. */
  | { readonly kind: 'claim'; readonly digest: Digest; readonly extent: number; readonly receivedBytes: number }
  /** This node gave the extent up; `extent` undefined = it cannot ask the origin at all. */
  | { readonly kind: 'release'; readonly digest: Digest; readonly extent: number | undefined }
  /** The origin ignores Range for this blob: one member streams all of it. */
  | { readonly kind: 'whole'; readonly digest: Digest }
  /** A piece as this node holds it, with the word of who read it: whoever holds another version should look who is right. */
  | { readonly kind: 'signed'; readonly digest: Digest; readonly piece: SignedPiece }
  /** A blob of one small piece, from who has just read it at the origin: no member need ask for it. */
  | { readonly kind: 'piece'; readonly digest: Digest; readonly piece: SignedPiece; readonly bytes: Uint8Array }
  /** Last on a channel: whatever follows comes on the direct one. */
  | { readonly kind: 'moved' };

const kinds = ['hello', 'state', 'leave', 'have', 'claim', 'release', 'whole', 'signed', 'moved', 'piece'] as const;

// 16 TiB at 4 MiB pieces; far above any layer, far below what arithmetic bears.
const maxPieces = 1 << 22;
const maxBlobBytes = 2 ** 44;
const maxBitfieldBytes = 96 * 1024;
// content/peer-id.ts
const maxSignerBytes = 56;
const maxMessagesPerFrame = 4096;
/** The largest piece that a message carries: configs of images have 1 to 10 KiB. */
export const maxGivenPieceBytes = 16 * 1024;
// A name or an address, or nothing.
const hostPattern = /^[A-Za-z0-9._:-]*$/;

export function encodeFrame(messages: readonly SwarmMessage[]): Uint8Array {
  const writer = new WireWriter();
  for (const message of messages) writeMessage(writer, message);
  return writer.finish();
}

/** Gives a message as it stands in a frame: frames are messages one behind the other. */
export function encodeMessage(message: SwarmMessage): Uint8Array {
  const writer = new WireWriter();
  writeMessage(writer, message);
  return writer.finish();
}

/** Reads a frame. @throws WIRE_INVALID */
export function decodeFrame(bytes: Uint8Array): SwarmMessage[] {
  const reader = new WireReader(bytes);
  const messages: SwarmMessage[] = [];
  while (!reader.isAtEnd) {
    if (messages.length >= maxMessagesPerFrame) throw new WireError('WIRE_INVALID', 'too many messages in a frame');
    messages.push(decodeMessage(reader));
  }
  return messages;
}

function writeMessage(writer: WireWriter, message: SwarmMessage): void {
  writer.number(kinds.indexOf(message.kind));
  if (message.kind === 'hello') {
    writer
      .number(message.bulkPort)
      .text(message.bulkHost ?? '')
      .text(message.zone);
    return;
  }
  if (message.kind === 'moved') return;
  writer.text(message.digest);
  switch (message.kind) {
    case 'state': {
      const flags = (message.isFetching ? 1 : 0) | (message.canAskOrigin ? 2 : 0) | (message.wantsReply ? 4 : 0);
      writer.number(message.sizeBytes).number(flags | (message.pieces === undefined ? 8 : 0));
      if (message.pieces !== undefined) writer.bytes(message.pieces);
      return;
    }
    case 'have':
      writer.number(message.pieces.length);
      for (const piece of message.pieces) writer.number(piece);
      writer.fixed(message.marks);
      return;
    case 'claim':
      writer.number(message.extent).number(message.receivedBytes);
      return;
    case 'release':
      writer.number(message.extent === undefined ? 0 : message.extent + 1);
      return;
    case 'signed':
      writeSigned(writer, message.piece);
      return;
    case 'piece':
      writeSigned(writer, message.piece);
      writer.bytes(message.bytes);
      return;
    default:
      return;
  }
}

function decodeMessage(reader: WireReader): SwarmMessage {
  const kind = kinds[reader.number(kinds.length - 1)] ?? 'leave';
  if (kind === 'hello') {
    const bulkPort = reader.number(65_535);
    const bulkHost = reader.text(253);
    if (!hostPattern.test(bulkHost)) throw new WireError('WIRE_INVALID', 'not a host');
    return { kind, bulkPort, ...(bulkHost === '' ? {} : { bulkHost }), zone: reader.text(64) };
  }
  if (kind === 'moved') return { kind };
  const digest = findDigest(reader.text(136));
  if (digest === undefined) throw new WireError('WIRE_INVALID', 'not a digest');
  switch (kind) {
    case 'state': {
      const sizeBytes = reader.number(maxBlobBytes);
      const flags = reader.number(15);
      return {
        kind,
        digest,
        sizeBytes,
        pieces: (flags & 8) !== 0 ? undefined : reader.bytes(maxBitfieldBytes),
        isFetching: (flags & 1) !== 0,
        canAskOrigin: (flags & 2) !== 0,
        wantsReply: (flags & 4) !== 0,
      };
    }
    case 'have': {
      const count = reader.number(65_536);
      const pieces: number[] = [];
      for (let at = 0; at < count; at += 1) pieces.push(reader.number(maxPieces));
      return { kind, digest, pieces, marks: Uint8Array.from(reader.fixed(count * markBytes)) };
    }
    case 'claim':
      return { kind, digest, extent: reader.number(maxPieces), receivedBytes: reader.number(maxBlobBytes) };
    case 'release': {
      const extent = reader.number(maxPieces + 1);
      return { kind, digest, extent: extent === 0 ? undefined : extent - 1 };
    }
    case 'signed':
      return { kind, digest, piece: readSigned(reader) };
    case 'piece':
      return { kind, digest, piece: readSigned(reader), bytes: Uint8Array.from(reader.bytes(maxGivenPieceBytes)) };
    default:
      return { kind, digest };
  }
}

function writeSigned(writer: WireWriter, { index, hash, signer, signature }: SignedPiece): void {
  writer.number(index).text(signer).fixed(hash).fixed(signature);
}

function readSigned(reader: WireReader): SignedPiece {
  const index = reader.number(maxPieces);
  const signer = findPeerId(reader.text(maxSignerBytes));
  if (signer === undefined) throw new WireError('WIRE_INVALID', 'not a signer');
  // Copies: the frame they came in is gone long before they are.
  const hash = Uint8Array.from(reader.fixed(32));
  return { index, hash, signer, signature: Uint8Array.from(reader.fixed(64)) };
}
