import { isAbort, isCode, toError } from '../lib/errors.ts';
import type { OciErrorCode } from '../oci/errors.ts';
import type { Repository } from '../oci/repository.ts';
import type { OriginErrorCode } from '../origin/errors.ts';
import type { SwarmErrorCode } from '../swarm/errors.ts';
import { ImageError, type ImageErrorCode } from './errors.ts';

/** What was asked for when the error happened. */
export interface Wanted {
  readonly kind: 'manifest' | 'blob' | 'repository';
  readonly repository: Repository;
  /** Tag or digest. */
  readonly reference?: string;
}

const unknownCodes: Record<Wanted['kind'], ImageErrorCode> = {
  manifest: 'IMAGE_MANIFEST_UNKNOWN',
  blob: 'IMAGE_BLOB_UNKNOWN',
  repository: 'IMAGE_REPOSITORY_UNKNOWN',
};

const fromOrigin: Record<OriginErrorCode, ImageErrorCode | 'unknown'> = {
  ORIGIN_NOT_ALLOWED: 'IMAGE_NAMESPACE_REFUSED',
  ORIGIN_NOT_FOUND: 'unknown',
  ORIGIN_UNAUTHORIZED: 'IMAGE_UNAUTHORIZED',
  ORIGIN_FORBIDDEN: 'IMAGE_DENIED',
  ORIGIN_RATE_LIMITED: 'IMAGE_UNAVAILABLE',
  ORIGIN_UNAVAILABLE: 'IMAGE_UNAVAILABLE',
  ORIGIN_BREAKER_OPEN: 'IMAGE_UNAVAILABLE',
  ORIGIN_CUT: 'IMAGE_UNAVAILABLE',
  ORIGIN_BAD_ANSWER: 'IMAGE_UNAVAILABLE',
  ORIGIN_REALM_REFUSED: 'IMAGE_UNAVAILABLE',
};

const fromSwarm: Record<SwarmErrorCode, ImageErrorCode> = {
  SWARM_UNOBTAINABLE: 'IMAGE_UNAVAILABLE',
  SWARM_DIGEST_MISMATCH: 'IMAGE_UNAVAILABLE',
  SWARM_STOPPED: 'IMAGE_UNAVAILABLE',
};

// A manifest that breaks the rules is none: the client may find a better one elsewhere.
const fromOci: Partial<Record<OciErrorCode, 'unknown'>> = {
  OCI_MANIFEST_INVALID: 'unknown',
  OCI_MANIFEST_TOO_LARGE: 'unknown',
};

const codes: Readonly<Record<string, ImageErrorCode | 'unknown' | undefined>> = {
  ...fromOrigin,
  ...fromSwarm,
  ...fromOci,
};

/** Turns an error of a part below into what a client should be told; aborts and bugs stay what they are. */
export function toImageError(thrown: unknown, wanted: Wanted): Error {
  const error = toError(thrown);
  if (error instanceof ImageError || isAbort(error)) return error;
  const code = codeOf(error);
  // Whatever is wrong with the store, the client can only try again or elsewhere; health tells the operator.
  const translated = code?.startsWith('STORE_') ? 'IMAGE_UNAVAILABLE' : codes[code ?? ''];
  if (translated === undefined) return error;
  return new ImageError(translated === 'unknown' ? unknownCodes[wanted.kind] : translated, messageOf(wanted), {
    cause: error,
    details: {
      namespace: wanted.repository.namespace,
      repository: wanted.repository.name,
      ...(wanted.reference !== undefined && { reference: wanted.reference }),
      ...retryAfterOf(error),
    },
  });
}

/** Tells whether the origin might answer differently soon, so that what is known already may stand in for it. */
export function isTemporary(error: unknown): boolean {
  return isCode(error, 'IMAGE_UNAVAILABLE');
}

/** When a swarm gave up because the origin said no, the origin's word is the better answer. */
function codeOf(error: Error): string | undefined {
  const { code } = error as { code?: unknown };
  if (code !== 'SWARM_UNOBTAINABLE') return typeof code === 'string' ? code : undefined;
  const { originError } = (error as { details?: { originError?: unknown } }).details ?? {};
  const origin = typeof originError === 'object' ? (originError as { code?: unknown } | null)?.code : originError;
  return typeof origin === 'string' && Object.hasOwn(fromOrigin, origin) ? origin : code;
}

function retryAfterOf(error: Error): { retryAfterMs?: number } {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const retryAfterMs = (at as { details?: { retryAfterMs?: unknown } }).details?.retryAfterMs;
    if (typeof retryAfterMs === 'number') return { retryAfterMs };
  }
  return {};
}

function messageOf({ kind, repository, reference }: Wanted): string {
  const name = `${repository.namespace}/${repository.name}`;
  return reference === undefined ? `cannot get ${kind} ${name}` : `cannot get ${kind} ${reference} of ${name}`;
}
