/**
 * Reads the heads of requests on the bulk plane: the subset of HTTP/1.1 that docs/protocol.md has, and nothing beside it. Only our own
 * nodes and people with curl ask here, so what HTTP allows for the sake of old programs (folded lines, bare line feeds, blank
 * lines in front, bytes above ASCII, other versions) is broken. Pure; every step is linear in the bytes, whatever they are.
 */
export interface RequestHead {
  readonly method: string;
  readonly target: string;
  readonly range: string | undefined;
  /** Whether a body follows. Nobody reads it, so nothing can be read behind it. */
  readonly hasBody: boolean;
  /** Whether the peer wants the connection closed behind the answer. */
  readonly isLast: boolean;
  /** Characters of the head in the text, the blank line included. */
  readonly length: number;
}

/** Why there is no head to be answered: not a request of this subset, or longer than any honest one. */
export type HeadFault = 'broken' | 'tooLong';

/** The longest honest request head is under 1 KiB. */
export const maxRequestHeadBytes = 4096;

export const endOfHead = '\r\n\r\n';
const requestLine = /^([A-Z]{1,16}) ([\x21-\x7e]+) HTTP\/1\.1$/;
const headerLine = /^([A-Za-z0-9!#$%&'*+.^_`|~-]+):([\t\x20-\x7e]*)$/;
/** A line of which the end has not arrived; its carriage return may have. */
const openLine = /^[\t\x20-\x7e]*\r?$/;
const plainNumber = /^\d{1,15}$/;

/**
 * Reads the head at the start of a text (one character for each byte); undefined while it may still become one. What the first
 * bytes have decided, later ones never change: however a head is split on its way, the result is the same.
 */
export function readRequestHead(text: string): RequestHead | HeadFault | undefined {
  const window = text.length > maxRequestHeadBytes ? text.slice(0, maxRequestHeadBytes) : text;
  const end = window.indexOf(endOfHead);
  if (end >= 0) return readLines(window.slice(0, end).split('\r\n'), end + endOfHead.length) ?? 'broken';
  const lines = window.split('\r\n');
  const open = lines.pop() ?? '';
  if (!openLine.test(open) || (lines.length > 0 && readFields(lines) === undefined)) return 'broken';
  return text.length < maxRequestHeadBytes ? undefined : 'tooLong';
}

/** What is read of the lines; undefined when one of them is broken. */
interface Fields {
  method: string;
  target: string;
  host: string | undefined;
  range: string | undefined;
  contentLength: string | undefined;
  isCoded: boolean;
  isLast: boolean;
}

function readLines(lines: readonly string[], length: number): RequestHead | undefined {
  const fields = readFields(lines);
  if (fields?.host === undefined) return undefined;
  const { method, target, range, contentLength, isCoded, isLast } = fields;
  const hasBody = isCoded || (contentLength !== undefined && Number(contentLength) > 0);
  return { method, target, range, hasBody, isLast, length };
}

function readFields(lines: readonly string[]): Fields | undefined {
  const [, method, target] = requestLine.exec(lines[0] ?? '') ?? [];
  if (method === undefined || target === undefined) return undefined;
  const fields: Fields = {
    method,
    target,
    host: undefined,
    range: undefined,
    contentLength: undefined,
    isCoded: false,
    isLast: false,
  };
  for (let at = 1; at < lines.length; at += 1) {
    const [, name, value] = headerLine.exec(lines[at] ?? '') ?? [];
    if (name === undefined || value === undefined || !readHeader(fields, name, value.trim())) return undefined;
  }
  return fields;
}

/** Takes a header that means something here; false when it may not be there, or not again. */
function readHeader(fields: Fields, name: string, value: string): boolean {
  switch (name.toLowerCase()) {
    case 'host':
      if (fields.host !== undefined) return false;
      fields.host = value;
      return true;
    case 'range':
      if (fields.range !== undefined) return false;
      fields.range = value;
      return true;
    case 'content-length':
      if (fields.contentLength !== undefined || !plainNumber.test(value)) return false;
      fields.contentLength = value;
      return true;
    case 'transfer-encoding':
      fields.isCoded = true;
      return true;
    case 'connection':
      fields.isLast ||= value.split(',').some((option) => option.trim().toLowerCase() === 'close');
      return true;
    default:
      return true;
  }
}
