import { isAbort } from '../lib/errors.ts';
import { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';
import { BlobOpener } from './blob-opener.ts';
import { Catalogue } from './catalogue.ts';
import type { ImagesDeps } from './deps.ts';
import type { Images } from './images.ts';
import { ManifestShelf } from './manifest-shelf.ts';
import { createImageMetrics } from './metrics.ts';
import type { ImagesOptions } from './options.ts';
import { Prefetcher } from './prefetcher.ts';
import { pullImage } from './pull.ts';
import { TagResolver } from './tag-resolver.ts';
import { createTagSource } from './tag-source.ts';

/** The use cases with the background work they own; disposing ends it and stops answering peers. */
export interface RunningImages extends Images, AsyncDisposable {
  /** Lets the fleet find what an earlier life of this node knew: its tags, and its roots for any kad-dht peer. */
  announceHeld(signal: AbortSignal): Promise<void>;
}

/** Repositories and tags read at a time while announcing at start. */
const announcePageSize = 500;

export function createImages(deps: ImagesDeps, options: ImagesOptions): RunningImages {
  const { metadata } = deps.store;
  const metrics = createImageMetrics(deps.metrics);
  const tasks = new TaskGroup((error) => {
    if (!isAbort(error)) deps.logger.error({ error }, 'background work of images failed');
  });
  const tags = new TagResolver(deps, options, metrics, tasks);
  const manifests = new ManifestShelf(deps, options, metrics, tasks);
  const prefetcher = new Prefetcher(deps, options, metrics, tasks, manifests);
  const blobs = new BlobOpener(deps, options, metrics);
  const catalogue = new Catalogue(deps, options, tasks, manifests);
  const stopServing = deps.tagHints.serve(createTagSource(deps, manifests));
  const roots = new Set<Digest>();

  /** Publishes what no other manifest names: all else is found through it. */
  const publishRoot = (digest: Digest) => {
    if (roots.has(digest)) return;
    if (roots.size >= maxPublishedRoots) roots.clear();
    roots.add(digest);
    deps.directory.publishRoot(digest);
  };

  async function announceTags(repository: Repository, signal: AbortSignal): Promise<void> {
    let last: string | undefined;
    for (;;) {
      signal.throwIfAborted();
      const page = await metadata.listTags(repository, {
        limit: announcePageSize,
        ...(last !== undefined && { last }),
      });
      for (const tag of page) {
        tags.rumours.spread(repository, tag);
        const record = await metadata.findTag(repository, tag);
        if (record !== undefined && (await deps.store.blobs.findBlob(record.digest)) !== undefined) {
          publishRoot(record.digest);
        }
      }
      last = page.at(-1);
      if (page.length < announcePageSize || last === undefined) return;
    }
  }

  const images: RunningImages = {
    async resolveTag(repository, tag, signal) {
      const resolved = await tags.resolve(repository, tag, signal);
      await prefetcher.lease(repository, [resolved.digest]);
      return resolved;
    },
    async openManifest(repository, digest, signal) {
      const opened = await manifests.open(repository, digest, signal);
      await prefetcher.serve(repository, opened.record);
      if (!roots.has(digest) && (await metadata.findParents(digest)).length === 0) publishRoot(digest);
      return opened;
    },
    async statManifest(repository, digest, signal) {
      const { record } = await manifests.open(repository, digest, signal);
      await prefetcher.lease(repository, [digest]);
      return record;
    },
    async statBlob(repository, digest, signal) {
      const found = await blobs.stat(repository, digest, signal);
      await prefetcher.lease(repository, [digest]);
      return found;
    },
    async openBlob(repository, digest, signal) {
      const opened = await blobs.open(repository, digest, signal);
      await prefetcher.lease(repository, [digest]);
      return opened;
    },
    listTags: (repository, page, signal) => catalogue.listTags(repository, page, signal),
    listRepositories: (page) => catalogue.listRepositories(page),
    listReferrers: (repository, subject) => catalogue.listReferrers(repository, subject),
    pull: (request, signal) => pullImage(deps, options, images, request, signal),
    listImages: () => catalogue.listImages(),

    async announceHeld(signal) {
      let last: Repository | undefined;
      for (;;) {
        const page = await catalogue.listRepositories({ limit: announcePageSize, ...(last !== undefined && { last }) });
        for (const repository of page.repositories) await announceTags(repository, signal);
        last = page.repositories.at(-1);
        if (!page.hasMore || last === undefined) return;
      }
    },
    async [Symbol.asyncDispose]() {
      stopServing();
      await tasks.stop();
    },
  };
  return images;
}

/** Keeps the set small; publishing again is idempotent in the directory. */
const maxPublishedRoots = 10_000;
