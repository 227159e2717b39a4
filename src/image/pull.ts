import { delay } from '../lib/clock.ts';
import { type Descriptor, isRequired, type Platform } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { isIndexType, isManifestType } from '../oci/media-type.ts';
import { choosePlatform, formatPlatform } from '../oci/platform.ts';
import type { Repository } from '../oci/repository.ts';
import type { Download, Transfer } from '../swarm/swarm.ts';
import type { ImagesDeps } from './deps.ts';
import { ImageError } from './errors.ts';
import { fetchInTurn } from './fetch-in-turn.ts';
import type { Images, OpenedManifest, PullProgress, PullRequest } from './images.ts';
import type { ImagesOptions } from './options.ts';
import { toImageError } from './translate-error.ts';

/** An index names at most this many images for a pull of all platforms; the largest real ones have about twenty. */
const maxImages = 256;

/**
 * Pulls an image as a client would and reports: resolved, layers, each transfer when it changed, done. Nothing is buffered: the
 * next state is looked at when the walker asks for it. Leaving early does not stop the downloads.
 */
export async function* pullImage(
  deps: ImagesDeps,
  options: ImagesOptions,
  images: Pick<Images, 'resolveTag' | 'openManifest'>,
  request: PullRequest,
  signal: AbortSignal,
): AsyncGenerator<PullProgress, void, void> {
  const { repository, reference } = request;
  const startedMs = deps.clock.nowMs();
  const resolved = 'tag' in reference ? await images.resolveTag(repository, reference.tag, signal) : undefined;
  const digest = resolved?.digest ?? ('digest' in reference ? reference.digest : undefined);
  if (digest === undefined) throw new TypeError('a pull needs a tag or a digest');
  const root = await images.openManifest(repository, digest, signal);
  yield { kind: 'resolved', digest, mediaType: root.record.mediaType, isStale: resolved?.isStale ?? false };

  const blobs = await collectBlobs(images, repository, root, request.platform ?? options.platform, signal);
  const layers = [];
  for (const { digest: blob, sizeBytes, mediaType } of blobs) {
    const isLocal = (await deps.store.blobs.findBlob(blob)) !== undefined;
    layers.push({ digest: blob, sizeBytes, mediaType, isLocal });
  }
  yield { kind: 'layers', layers };

  const missing = layers.filter(({ isLocal }) => !isLocal);
  const downloads: Download[] = [];
  const requests = missing.map((layer) => ({ ...layer, repository }));
  const started = fetchInTurn(deps.swarm, requests, (begun) => void downloads.push(...begun), signal);
  const ended = started.then(() => Promise.allSettled(downloads.map(({ done }) => done)));
  ended.catch(() => {});
  for await (const transfer of walkTransfers(deps, options, downloads, ended, signal))
    yield { kind: 'transfer', transfer };

  const bytes = { origin: 0, peer: 0, local: 0 };
  for (const { isLocal, sizeBytes } of layers) if (isLocal) bytes.local += sizeBytes;
  for (const download of downloads) {
    const { origin, peer, local } = download.transfer().bytes;
    bytes.origin += origin;
    bytes.peer += peer;
    bytes.local += local;
  }
  const totalBytes = layers.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
  yield { kind: 'done', digest, totalBytes, bytes, durationMs: deps.clock.nowMs() - startedMs };
}

/** Lists the blobs of the images asked for, each once, in manifest order. */
async function collectBlobs(
  images: Pick<Images, 'openManifest'>,
  repository: Repository,
  root: OpenedManifest,
  platform: Platform | 'all',
  signal: AbortSignal,
): Promise<readonly Descriptor[]> {
  const blobs = new Map<Digest, Descriptor>();
  const seen = new Set<Digest>([root.record.digest]);
  const queue = [root];
  for (let manifest = queue.shift(); manifest !== undefined; manifest = queue.shift()) {
    const { record } = manifest;
    if (!isIndexType(record.mediaType)) {
      for (const child of record.children) if (isRequired(child)) blobs.set(child.digest, child);
      continue;
    }
    const chosen = chooseManifests(record.children, platform);
    if (chosen.length === 0 && platform !== 'all') throw noSuchPlatform(repository, record.digest, platform);
    for (const child of chosen) {
      if (seen.has(child.digest) || seen.size >= maxImages) continue;
      seen.add(child.digest);
      queue.push(await images.openManifest(repository, child.digest, signal));
    }
  }
  return [...blobs.values()];
}

function chooseManifests(children: readonly Descriptor[], platform: Platform | 'all'): readonly Descriptor[] {
  const manifests = children.filter((child) => isManifestType(child.mediaType) && isRequired(child));
  if (platform === 'all') return manifests;
  const chosen = choosePlatform(manifests, platform);
  return chosen === undefined ? [] : [chosen];
}

/**
 * Yields each transfer whenever it differs from what was last yielded, until all have `ended`; more may be added until then.
 * @throws ImageError of the first that failed
 */
async function* walkTransfers(
  deps: ImagesDeps,
  options: ImagesOptions,
  downloads: readonly Download[],
  ended: Promise<readonly PromiseSettledResult<void>[]>,
  signal: AbortSignal,
): AsyncGenerator<Transfer, void, void> {
  const told = new Map<Digest, string>();
  for (let isOver = false; !isOver; ) {
    isOver = await endsWithin(deps, options.progressMs, ended, signal);
    for (const download of downloads) {
      const transfer = download.transfer();
      const state = `${transfer.state} ${transfer.piecesHeld} ${transfer.bytes.origin} ${transfer.bytes.peer}`;
      if (told.get(download.digest) === state) continue;
      told.set(download.digest, state);
      yield transfer;
    }
  }
  const outcomes = await ended;
  for (const [index, outcome] of outcomes.entries()) {
    const download = downloads[index];
    if (outcome.status === 'fulfilled' || download === undefined) continue;
    const { repository } = download.transfer();
    throw toImageError(outcome.reason, { kind: 'blob', repository, reference: download.digest });
  }
}

async function endsWithin(
  deps: ImagesDeps,
  waitMs: number,
  ended: Promise<unknown>,
  signal: AbortSignal,
): Promise<boolean> {
  const over = new AbortController();
  const tick = delay(deps.clock, waitMs, AbortSignal.any([signal, over.signal]));
  tick.catch(() => {});
  try {
    return await Promise.race([ended.then(() => true), tick.then(() => false)]);
  } finally {
    over.abort();
  }
}

function noSuchPlatform(repository: Repository, digest: Digest, platform: Platform): ImageError {
  return new ImageError('IMAGE_MANIFEST_UNKNOWN', `the image has nothing for ${formatPlatform(platform)}`, {
    details: { namespace: repository.namespace, repository: repository.name, reference: digest },
  });
}
