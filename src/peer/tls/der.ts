/**
 * As much of DER as the certificates of the bulk plane need (X.690, sections 8 and 10): elements with one-byte tags and definite
 * lengths. Written for certificates that the TLS library has parsed before; what it refuses never comes here.
 */
export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  /** Context-specific and constructed, as `[n] EXPLICIT`. */
  explicit: (number: number) => 0xa0 + number,
} as const;

export interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
}

/**
 * Writes one element.
 * @throws RangeError for more than 64 KiB
 */
export function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length > 0xffff) throw new RangeError(`an element of ${length} bytes is too long`);
  const sizes = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...sizes), content]);
}

/**
 * Reads the elements that fill the bytes.
 * @throws RangeError when they do not
 */
export function readDer(bytes: Buffer): DerElement[] {
  const elements: DerElement[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes.readUInt8(at);
    const first = bytes.readUInt8(at + 1);
    const sizeBytes = first < 0x80 ? 0 : first & 0x7f;
    if (sizeBytes > 2 || first === 0x80) throw new RangeError('the length of an element is out of range');
    const start = at + 2 + sizeBytes;
    const length = sizeBytes === 0 ? first : bytes.readUIntBE(at + 2, sizeBytes);
    if (start + length > bytes.length) throw new RangeError('an element goes beyond its end');
    elements.push({ tag, content: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return elements;
}

/**
 * Reads the elements inside of an element.
 * @throws RangeError when it has another tag
 */
export function readDerInside(element: DerElement | undefined, tag: number): DerElement[] {
  if (element?.tag !== tag) throw new RangeError(`an element with tag ${tag} is missing`);
  return readDer(element.content);
}
