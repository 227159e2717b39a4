import { WireError } from '../../lib/wire.ts';

export interface ResponseHead {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
  /** Bytes of the head in the buffer, the blank line included. */
  readonly length: number;
}

/** A bulk reply has about ten. */
const maxHeaders = 32;
const statusLine = /^HTTP\/1\.1 (\d{3})(?: [\t\x20-\x7e]*)?$/;
const headerLine = /^([A-Za-z0-9!#$%&'*+.^_`|~-]+):[\t ]*([\x20-\x7e]*?)[\t ]*$/;

/**
 * Reads a response head from the start of a buffer; undefined while its blank line has not arrived.
 * Stricter than HTTP: no folded lines, no repeated headers, no transfer codings, because only our own servers speak here.
 * @throws WIRE_INVALID
 */
export function findResponseHead(buffer: Buffer): ResponseHead | undefined {
  const end = buffer.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [first = '', ...lines] = buffer.toString('latin1', 0, end).split('\r\n');
  const status = statusLine.exec(first)?.[1];
  if (status === undefined) throw new WireError('WIRE_INVALID', 'reply is not HTTP/1.1');
  if (lines.length > maxHeaders) throw new WireError('WIRE_INVALID', 'reply has too many headers');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name = '', value = ''] = headerLine.exec(line) ?? [];
    const key = name.toLowerCase();
    if (key === '' || headers.has(key)) throw new WireError('WIRE_INVALID', 'reply has a broken or repeated header');
    headers.set(key, value);
  }
  if (headers.has('transfer-encoding')) throw new WireError('WIRE_INVALID', 'reply uses a transfer coding');
  return { status: Number(status), headers, length: end + 4 };
}

/** Reads a decimal header; undefined when it is absent or no plain number. */
export function findNumber(head: ResponseHead, name: string): number | undefined {
  const text = head.headers.get(name);
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
