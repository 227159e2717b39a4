import { ExpiringCache } from '../lib/expiring-cache.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import { type Descriptor, isRequired } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { isIndexType, isManifestType } from '../oci/media-type.ts';
import { choosePlatform } from '../oci/platform.ts';
import type { Repository } from '../oci/repository.ts';
import type { ManifestRecord } from '../store/metadata-store.ts';
import type { BlobRequest, Download } from '../swarm/swarm.ts';
import type { ImagesDeps } from './deps.ts';
import { fetchInTurn } from './fetch-in-turn.ts';
import type { ManifestShelf } from './manifest-shelf.ts';
import type { ImageMetrics } from './metrics.ts';
import type { ImagesOptions } from './options.ts';

/** An index of indexes of images is as deep as anything real nests. */
const maxIndexDepth = 3;
/** Manifests served lately; past it one is looked at again before its time, which costs a few look-ups. */
const servedManifestsKept = 4096;

/**
 * What happens when a manifest has been served: its children are leased, the root is published, and everything the client will
 * ask for next is fetched, whatever the client's own concurrency.
 */
export class Prefetcher {
  readonly #deps: ImagesDeps;
  readonly #options: ImagesOptions;
  readonly #metrics: ImageMetrics;
  readonly #tasks: TaskGroup;
  readonly #manifests: ManifestShelf;
  readonly #served: ExpiringCache<string, true>;
  /** Manifests whose blobs are being started, which takes a while where there are more of them than are fetched at once. */
  readonly #walking = new Set<string>();

  constructor(
    deps: ImagesDeps,
    options: ImagesOptions,
    metrics: ImageMetrics,
    tasks: TaskGroup,
    manifests: ManifestShelf,
  ) {
    this.#deps = deps;
    this.#options = options;
    this.#metrics = metrics;
    this.#tasks = tasks;
    this.#manifests = manifests;
    this.#served = new ExpiringCache(deps.clock, servedManifestsKept);
  }

  /** Does not wait for anything but the leases. */
  async serve(repository: Repository, record: ManifestRecord): Promise<void> {
    const key = `${repository.namespace}/${repository.name}@${record.digest}`;
    if (this.#served.find(key) !== undefined) return;
    this.#served.put(key, true, this.#options.prefetchRepeatMs);
    await this.lease(repository, [record.digest, ...record.children.filter(isRequired).map(({ digest }) => digest)]);
    if (this.#options.prefetch) this.#tasks.run((signal) => this.#fetchChildren(repository, record, 1, signal));
  }

  /** Keeps what was promised to a client until the lease ends. */
  async lease(repository: Repository, digests: readonly Digest[]): Promise<void> {
    const expiresAtMs = this.#deps.clock.wallMs() + this.#options.leaseMs;
    await this.#deps.store.metadata.lease(`auto:${repository.namespace}/${repository.name}`, digests, expiresAtMs);
  }

  async #fetchChildren(repository: Repository, record: ManifestRecord, depth: number, signal: AbortSignal) {
    if (isIndexType(record.mediaType)) {
      const child = choosePlatform(record.children, this.#options.platform);
      if (child === undefined || depth >= maxIndexDepth || !isManifestType(child.mediaType)) return;
      await this.#fetchManifest(repository, child, depth, signal);
    } else {
      await this.#fetchBlobs(repository, record, signal);
    }
  }

  async #fetchManifest(repository: Repository, child: Descriptor, depth: number, signal: AbortSignal): Promise<void> {
    try {
      const { record } = await this.#manifests.open(repository, child.digest, signal);
      await this.lease(repository, [record.digest, ...record.children.filter(isRequired).map(({ digest }) => digest)]);
      await this.#fetchChildren(repository, record, depth + 1, signal);
    } catch (error) {
      signal.throwIfAborted();
      // Nobody waits for this one: whoever asks for it later gets the error, or better luck.
      this.#deps.logger.debug({ digest: child.digest, error }, 'manifest could not be fetched ahead');
    }
  }

  async #fetchBlobs(repository: Repository, record: ManifestRecord, signal: AbortSignal): Promise<void> {
    const key = `${repository.namespace}/${repository.name}@${record.digest}`;
    if (this.#walking.has(key)) return;
    this.#walking.add(key);
    try {
      const onStart = ({ length }: readonly Download[]) => this.#metrics.prefetched.add(length);
      // The swarm reports what fails; a client that asks for the blob starts it again.
      await fetchInTurn(this.#deps.swarm, this.#missingBlobs(repository, record), onStart, signal);
    } finally {
      this.#walking.delete(key);
    }
  }

  async *#missingBlobs(repository: Repository, { children }: ManifestRecord): AsyncGenerator<BlobRequest, void, void> {
    for (const { digest, sizeBytes } of children.filter(isRequired))
      if ((await this.#deps.store.blobs.findBlob(digest)) === undefined) yield { digest, sizeBytes, repository };
  }
}
