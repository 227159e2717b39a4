import type { Images } from '../image/images.ts';
import { type Digest, findDigest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';
import { findTag } from '../oci/tag.ts';
import { type Exchange, matchesEtag } from './exchange.ts';

/** Answers GET and HEAD of a manifest: always the bytes and the type it was pushed with, whatever Accept says. */
export async function answerManifest(
  images: Images,
  exchange: Exchange,
  repository: Repository,
  reference: string,
): Promise<void> {
  if (reference.includes(':')) {
    const digest = findDigest(reference);
    if (digest !== undefined) await answerDigest(images, exchange, repository, digest);
    else exchange.sendError({ status: 400, code: 'DIGEST_INVALID', message: 'not a sha256 or sha512 digest' });
    return;
  }
  const tag = findTag(reference);
  if (tag === undefined) {
    exchange.sendError({ status: 400, code: 'TAG_INVALID', message: 'neither a tag nor a digest' });
    return;
  }
  const resolved = await images.resolveTag(repository, tag, exchange.signal);
  const { digest, mediaType, sizeBytes } = resolved;
  const headers = {
    ...headersOf(repository, digest),
    // The tag may point elsewhere the next moment; only a digest is for ever.
    'cache-control': 'no-cache',
    ...(resolved.isStale && { warning: '299 - "the origin could not be asked; this is what it said last"' }),
  };
  const isKnown = matchesEtag(exchange.header('if-none-match'), headers.etag);
  if (isKnown) exchange.send(304, headers);
  else if (exchange.isHead) exchange.send(200, { ...headers, 'content-type': mediaType, 'content-length': sizeBytes });
  else await sendManifest(images, exchange, repository, digest, headers);
}

async function answerDigest(images: Images, exchange: Exchange, repository: Repository, digest: Digest): Promise<void> {
  const headers = { ...headersOf(repository, digest), 'cache-control': 'max-age=31536000' };
  const isKnown = matchesEtag(exchange.header('if-none-match'), headers.etag);
  if (!exchange.isHead && !isKnown) {
    await sendManifest(images, exchange, repository, digest, headers);
    return;
  }
  const { mediaType, sizeBytes } = await images.statManifest(repository, digest, exchange.signal);
  if (isKnown) exchange.send(304, headers);
  else exchange.send(200, { ...headers, 'content-type': mediaType, 'content-length': sizeBytes });
}

async function sendManifest(
  images: Images,
  exchange: Exchange,
  repository: Repository,
  digest: Digest,
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const { record, bytes } = await images.openManifest(repository, digest, exchange.signal);
  exchange.send(200, { ...headers, 'content-type': record.mediaType }, bytes);
}

function headersOf(repository: Repository, digest: Digest) {
  return { 'docker-content-digest': digest, etag: `"${digest}"`, 'oci-namespace': repository.namespace };
}
