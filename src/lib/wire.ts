import { CodedError } from './errors.ts';

export type WireErrorCode = 'WIRE_INVALID';

/** Thrown by `WireReader` for bytes that are not what they should be. */
export class WireError extends CodedError<WireErrorCode> {}

/** Builds a binary message: unsigned LEB128 numbers, length-prefixed bytes and text. */
export class WireWriter {
  #buffer = Buffer.allocUnsafe(256);
  #length = 0;

  number(value: number): this {
    let rest = value;
    this.#reserve(8);
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length++] = rest;
    return this;
  }

  /** Appends bytes of a length the reader knows. */
  fixed(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  bytes(bytes: Uint8Array): this {
    return this.number(bytes.length).fixed(bytes);
  }

  text(value: string): this {
    return this.bytes(Buffer.from(value, 'utf8'));
  }

  finish(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + count));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

/** Reads what `WireWriter` wrote. Every method throws WIRE_INVALID on a short or oversized field; nothing is allocated on trust. */
export class WireReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  number(max: number): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 8; count += 1) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new WireError('WIRE_INVALID', 'message ends inside a number');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > max) throw new WireError('WIRE_INVALID', `number ${value} is over ${max}`);
        return value;
      }
      scale *= 0x80;
    }
    throw new WireError('WIRE_INVALID', 'number is too long');
  }

  /** Returns a view, valid as long as the message. */
  fixed(length: number): Uint8Array {
    if (this.#at + length > this.#bytes.length) throw new WireError('WIRE_INVALID', 'message ends inside a field');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  bytes(maxLength: number): Uint8Array {
    return this.fixed(this.number(maxLength));
  }

  text(maxLength: number): string {
    const bytes = this.bytes(maxLength);
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch (cause) {
      throw new WireError('WIRE_INVALID', 'text is not UTF-8', { cause });
    }
  }

  end(): void {
    if (!this.isAtEnd) throw new WireError('WIRE_INVALID', 'message has bytes after its end');
  }
}
