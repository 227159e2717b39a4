import { type Digest, digestAlgorithm, digestOf, findDigest } from '../oci/digest.ts';
import { refuseForeignBody } from './blob-answer.ts';
import { OriginError } from './errors.ts';
import { readContentLength } from './http/content-range.ts';
import type { HttpResponse } from './http/http-client.ts';
import { readBody } from './http/read-body.ts';
import type { OriginManifest, OriginTag, ResolveTagOptions } from './origin.ts';
import type { OriginSession } from './session.ts';

// Every type a client may ask this node for: some registries convert or refuse what is not named.
const accept = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.oci.artifact.manifest.v1+json',
  '*/*;q=0.1',
].join(', ');

// The specification asks registries for 4 MiB; the margin lets through what a lenient registry took.
const maxManifestBytes = 4 * 1024 * 1024 + 64 * 1024;

// One failure is an accident, often of a connection that was kept for too long.
const troubleAttempts = 2;

/** Asks what a tag points at: HEAD, which no registry counts as a pull, then GET where HEAD does not tell enough. */
export async function resolveTag(
  session: OriginSession,
  repository: string,
  tag: string,
  { known, onTrouble, signal }: ResolveTagOptions,
): Promise<OriginTag> {
  const request = {
    operation: 'tag',
    repository,
    path: `/manifests/${encodeURIComponent(tag)}`,
    onRetry: (failed: number) => (failed === troubleAttempts ? onTrouble?.() : undefined),
  } as const;
  const fromHead = await session.exchange(
    { ...request, method: 'HEAD', headers: { accept }, accepts: [400, 405, 501] },
    signal,
    async (response) => (response.status === 200 ? readTagHead(response) : undefined),
  );
  if (fromHead !== undefined) return fromHead;

  const etag = known?.etag;
  const conditions = etag === undefined ? {} : { 'if-none-match': etag };
  return await session.exchange(
    { ...request, method: 'GET', headers: { accept, ...conditions }, accepts: etag === undefined ? [] : [304] },
    signal,
    async (response) => {
      if (response.status === 304 && known !== undefined) return known;
      const claimed = findDigest(response.headers['docker-content-digest'] ?? '');
      const { digest, mediaType, bytes } = await readManifest(response, claimed);
      return withEtag({ digest, mediaType, sizeBytes: bytes.length }, response);
    },
  );
}

/** Fetches a manifest by digest and verifies it. */
export async function fetchManifest(
  session: OriginSession,
  repository: string,
  digest: Digest,
  signal: AbortSignal,
): Promise<OriginManifest> {
  return await session.exchange(
    { operation: 'manifest', method: 'GET', repository, path: `/manifests/${digest}`, headers: { accept } },
    signal,
    (response) => readManifest(response, digest),
  );
}

/** Reads a HEAD; undefined when it lacks one of digest, type and length. */
function readTagHead(response: HttpResponse): OriginTag | undefined {
  refuseForeignBody(response);
  const digest = findDigest(response.headers['docker-content-digest'] ?? '');
  const sizeBytes = readContentLength(response.headers['content-length']);
  const mediaType = findMediaType(response);
  if (digest === undefined || sizeBytes === undefined || sizeBytes === 0 || mediaType === undefined) return undefined;
  if (sizeBytes > maxManifestBytes) throw tooLarge(sizeBytes);
  return withEtag({ digest, mediaType, sizeBytes }, response);
}

async function readManifest(response: HttpResponse, expected: Digest | undefined): Promise<OriginManifest> {
  refuseForeignBody(response);
  const contentLength = readContentLength(response.headers['content-length']);
  if (contentLength !== undefined && contentLength > maxManifestBytes) throw tooLarge(contentLength);
  const bytes = await readBody(response, maxManifestBytes, 'manifest');
  const digest = digestOf(bytes, expected === undefined ? 'sha256' : digestAlgorithm(expected));
  if (expected !== undefined && digest !== expected) {
    throw new OriginError('ORIGIN_BAD_ANSWER', 'the manifest does not have the digest it was asked for by', {
      details: { expected, actual: digest },
    });
  }
  const mediaType = findMediaType(response) ?? findDeclaredMediaType(bytes);
  if (mediaType === undefined)
    throw new OriginError('ORIGIN_BAD_ANSWER', 'the origin does not tell the type of a manifest');
  return { digest, mediaType, bytes };
}

// Types that say only "some JSON" or "some bytes": a registry behind a plain file server sends them.
const meaninglessTypes = new Set(['application/json', 'application/octet-stream', 'text/plain', 'binary/octet-stream']);

/** Reads a Content-Type without parameters; undefined when it says nothing of a manifest. */
function findMediaType({ headers }: HttpResponse): string | undefined {
  const type = headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? '';
  const isReadable = type.length <= 255 && /^[a-z0-9][a-z0-9!#$&^_.+-]*\/[a-z0-9][a-z0-9!#$&^_.+-]*$/.test(type);
  return isReadable && !meaninglessTypes.has(type) ? type : undefined;
}

function findDeclaredMediaType(bytes: Buffer): string | undefined {
  try {
    const { mediaType } = JSON.parse(bytes.toString()) as { mediaType?: unknown };
    return typeof mediaType === 'string' && /^application\/[\w.+-]{1,200}$/.test(mediaType) ? mediaType : undefined;
  } catch {
    return undefined;
  }
}

function withEtag(tag: OriginTag, { headers }: HttpResponse): OriginTag {
  const etag = headers['etag'];
  // It goes back in a request header as it is; a longer one is not worth keeping.
  return etag === undefined || etag.length > 256 ? tag : { ...tag, etag };
}

function tooLarge(sizeBytes: number): OriginError {
  return new OriginError('ORIGIN_BAD_ANSWER', 'the manifest is larger than allowed', {
    details: { sizeBytes, maxBytes: maxManifestBytes },
  });
}
