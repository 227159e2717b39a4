export interface ContentRange {
  readonly start: number;
  /** Exclusive, unlike on the wire. */
  readonly end: number;
  /** Absent = the server does not say (`*`). */
  readonly sizeBytes?: number;
}

/** Reads a Content-Range of one byte range (RFC 9110 section 14.4); undefined when absent or malformed. */
export function readContentRange(header: string | undefined): ContentRange | undefined {
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(?:(\d{1,16})|\*)$/i.exec(header?.trim() ?? '');
  if (match === null) return undefined;
  const start = Number(match[1]);
  const end = Number(match[2]) + 1;
  const sizeBytes = match[3] === undefined ? undefined : Number(match[3]);
  if (!Number.isSafeInteger(end) || start >= end) return undefined;
  if (sizeBytes === undefined) return { start, end };
  return Number.isSafeInteger(sizeBytes) && end <= sizeBytes ? { start, end, sizeBytes } : undefined;
}

/** Reads a Content-Length; undefined when absent or malformed. */
export function readContentLength(header: string | undefined): number | undefined {
  if (header === undefined || !/^\d{1,16}$/.test(header)) return undefined;
  const length = Number(header);
  return Number.isSafeInteger(length) ? length : undefined;
}
