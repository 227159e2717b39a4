/** A fixed-size set of piece indexes with its count kept; the wire form is big-endian bits, as in BEP 3, spare bits zero. */
export class Bitfield {
  readonly size: number;
  readonly #bytes: Uint8Array;
  #count = 0;

  constructor(size: number) {
    this.size = size;
    this.#bytes = new Uint8Array(Math.ceil(size / 8));
  }

  static full(size: number): Bitfield {
    const bitfield = new Bitfield(size);
    for (let index = 0; index < size; index += 1) bitfield.add(index);
    return bitfield;
  }

  /** Reads the wire form; undefined when the length is wrong or a spare bit is set. */
  static decode(size: number, bytes: Uint8Array): Bitfield | undefined {
    if (bytes.length !== Math.ceil(size / 8)) return undefined;
    const spareBits = bytes.length * 8 - size;
    if (spareBits > 0 && ((bytes[bytes.length - 1] ?? 0) & ((1 << spareBits) - 1)) !== 0) return undefined;
    const bitfield = new Bitfield(size);
    bitfield.#bytes.set(bytes);
    for (const byte of bytes) for (let rest = byte; rest !== 0; rest &= rest - 1) bitfield.#count += 1;
    return bitfield;
  }

  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count === this.size;
  }

  has(index: number): boolean {
    return index >= 0 && index < this.size && ((this.#bytes[index >> 3] ?? 0) & (0x80 >> (index & 7))) !== 0;
  }

  /** Adds an index; returns whether it was absent. @throws RangeError outside the set */
  add(index: number): boolean {
    this.#check(index);
    if (this.has(index)) return false;
    this.#bytes[index >> 3] = (this.#bytes[index >> 3] ?? 0) | (0x80 >> (index & 7));
    this.#count += 1;
    return true;
  }

  /** Removes an index; returns whether it was present. @throws RangeError outside the set */
  delete(index: number): boolean {
    this.#check(index);
    if (!this.has(index)) return false;
    this.#bytes[index >> 3] = (this.#bytes[index >> 3] ?? 0) & ~(0x80 >> (index & 7));
    this.#count -= 1;
    return true;
  }

  /** Returns how many indexes from `start` on are present without a gap. */
  runFrom(start: number): number {
    let index = start;
    while (this.has(index)) index += 1;
    return index - start;
  }

  *[Symbol.iterator](): Generator<number> {
    for (let index = 0; index < this.size; index += 1) if (this.has(index)) yield index;
  }

  encode(): Uint8Array {
    return this.#bytes.slice();
  }

  #check(index: number): void {
    if (!Number.isInteger(index) || index < 0 || index >= this.size) {
      throw new RangeError(`index ${index} is outside of ${this.size}`);
    }
  }
}
