import type { ImageErrorCode } from '../image/errors.ts';
import { isCode } from '../lib/errors.ts';

/** Codes of OCI distribution-spec, "Error Codes", and those distribution added that clients know. */
type RegistryErrorCode =
  | 'BLOB_UNKNOWN'
  | 'DENIED'
  | 'DIGEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'PAGINATION_NUMBER_INVALID'
  | 'RANGE_INVALID'
  | 'TAG_INVALID'
  | 'UNAUTHORIZED'
  | 'UNAVAILABLE'
  | 'UNKNOWN'
  | 'UNSUPPORTED';

export interface ErrorAnswer {
  readonly status: number;
  readonly code: RegistryErrorCode;
  readonly message: string;
  readonly detail?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Never 429 or 408: containerd repeats those at once on the same host instead of going on to the next one. 401 goes without a
 * challenge, as this registry has no credentials to ask for.
 */
const imageErrors: Record<ImageErrorCode, { status: number; code: RegistryErrorCode; message: string }> = {
  IMAGE_MANIFEST_UNKNOWN: { status: 404, code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' },
  IMAGE_BLOB_UNKNOWN: { status: 404, code: 'BLOB_UNKNOWN', message: 'blob unknown' },
  IMAGE_REPOSITORY_UNKNOWN: { status: 404, code: 'NAME_UNKNOWN', message: 'repository unknown' },
  IMAGE_UNAUTHORIZED: { status: 401, code: 'UNAUTHORIZED', message: 'the origin wants credentials this node lacks' },
  IMAGE_DENIED: { status: 403, code: 'DENIED', message: "the origin denies this node's credentials access" },
  IMAGE_UNAVAILABLE: { status: 503, code: 'UNAVAILABLE', message: 'neither the fleet nor the origin has it now' },
  IMAGE_NAMESPACE_REFUSED: { status: 404, code: 'NAME_UNKNOWN', message: 'not an origin of this node' },
};

const codes = Object.keys(imageErrors) as ImageErrorCode[];

/** Turns what a use case threw into an answer; undefined for a bug. */
export function findErrorAnswer(error: unknown): ErrorAnswer | undefined {
  if (!isCode(error, ...codes)) return undefined;
  const { retryAfterMs, ...detail } = error.details;
  const answer = imageErrors[error.code];
  const isLater = answer.status === 503 && typeof retryAfterMs === 'number';
  const headers = isLater ? { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) } : {};
  return { ...answer, detail, headers };
}

export function encodeErrorBody({ code, message, detail }: ErrorAnswer): Buffer {
  return Buffer.from(JSON.stringify({ errors: [{ code, message, ...(detail !== undefined && { detail }) }] }));
}
