import { PeerError } from '../errors.ts';

/** Puts a message, not an empty one, behind its length, an unsigned LEB128 number; memory of its own, so that the caller may reuse its buffer. */
export function frameOf(message: Uint8Array): Buffer {
  const { length } = message;
  const headBytes = length < 0x80 ? 1 : length < 0x4000 ? 2 : 3;
  const frame = Buffer.allocUnsafe(headBytes + length);
  let rest = length;
  for (let at = 0; at < headBytes - 1; at += 1) {
    frame[at] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  frame[headBytes - 1] = rest;
  frame.set(message, headBytes);
  return frame;
}

// 2 MiB and less; every bound of a message is below.
const maxLengthBytes = 3;

/** Cuts what arrives into messages; keeps of an unfinished one what has come, its length from 1 to `maxBytes`. */
export class FrameSplitter {
  readonly #maxBytes: number;
  /** The length of the message under way, as far as it is known. */
  #length = 0;
  #lengthBytes = 0;
  #message: Buffer | undefined;
  #filled = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Gives the messages that `bytes` completes, in memory of their own.
   * @throws PEER_PROTOCOL for a length out of bounds
   */
  split(bytes: Uint8Array): Uint8Array[] {
    const messages: Uint8Array[] = [];
    let at = 0;
    while (at < bytes.length) {
      if (this.#message === undefined) at = this.#readLength(bytes, at);
      if (this.#message === undefined) break;
      const count = Math.min(this.#message.length - this.#filled, bytes.length - at);
      this.#message.set(bytes.subarray(at, at + count), this.#filled);
      at += count;
      this.#filled += count;
      if (this.#filled < this.#message.length) break;
      messages.push(this.#message);
      this.#message = undefined;
    }
    return messages;
  }

  #readLength(bytes: Uint8Array, from: number): number {
    for (let at = from; at < bytes.length; at += 1) {
      const byte = bytes[at] ?? 0;
      this.#length += (byte & 0x7f) << (7 * this.#lengthBytes);
      this.#lengthBytes += 1;
      if (byte >= 0x80 && this.#lengthBytes < maxLengthBytes) continue;
      // Nothing has no use, and would cost more to keep than to send.
      if (byte >= 0x80 || this.#length > this.#maxBytes || this.#length === 0)
        throw new PeerError('PEER_PROTOCOL', 'a message is too long or empty', {
          details: { maxBytes: this.#maxBytes },
        });
      this.#message = Buffer.allocUnsafe(this.#length);
      this.#filled = 0;
      this.#length = 0;
      this.#lengthBytes = 0;
      return at + 1;
    }
    return bytes.length;
  }
}
