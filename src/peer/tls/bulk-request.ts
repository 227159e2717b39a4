import { type Digest, findDigest } from '../../oci/digest.ts';

/** Milliseconds after which a busy peer may be asked again; finer than HTTP's Retry-After. */
export const retryAfterHeader = 'shoal-retry-after-ms';

export interface RunRequest {
  readonly digest: Digest;
  readonly first: number;
  readonly count: number;
}

export interface ByteRange {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** The longest request target: path, sha512 digest and two numbers. */
const maxTargetLength = 256;
const target = /^\/v1\/blobs\/([a-z0-9]+:[0-9a-f]+)\?first=(0|[1-9]\d{0,8})&count=([1-9]\d{0,2})$/;
const range = /^bytes=(0|[1-9]\d{0,15})-(0|[1-9]\d{0,15})$/;

export function formatTarget({ digest, first, count }: RunRequest): string {
  return `/v1/blobs/${digest}?first=${first}&count=${count}`;
}

/** Reads a request target; undefined for anything but a run of pieces. */
export function findRunRequest(text: string): RunRequest | undefined {
  const parts = text.length > maxTargetLength ? null : target.exec(text);
  const digest = findDigest(parts?.[1] ?? '');
  if (parts === null || digest === undefined) return undefined;
  return { digest, first: Number(parts[2]), count: Number(parts[3]) };
}

export function formatRange({ start, end }: ByteRange): string {
  return `bytes=${start}-${end - 1}`;
}

/** Reads a Range header of one closed range. */
export function findRange(text: string): ByteRange | undefined {
  const parts = range.exec(text);
  if (parts === null) return undefined;
  const start = Number(parts[1]);
  const end = Number(parts[2]) + 1;
  return start < end && Number.isSafeInteger(end) ? { start, end } : undefined;
}
