import { LRUCache } from 'lru-cache';
import { isCode } from '../lib/errors.ts';
import { ExpiringCache } from '../lib/expiring-cache.ts';
import { raceAbort } from '../lib/race-abort.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import { type Digest, digestAlgorithm, digestOf } from '../oci/digest.ts';
import { maxManifestBytes } from '../oci/manifest.ts';
import type { Repository } from '../oci/repository.ts';
import type { ManifestRecord } from '../store/metadata-store.ts';
import type { ImagesDeps } from './deps.ts';
import { ImageError } from './errors.ts';
import type { OpenedManifest } from './images.ts';
import { ManifestFetcher } from './manifest-fetcher.ts';
import type { ImageMetrics } from './metrics.ts';
import type { ImagesOptions } from './options.ts';
import { toImageError } from './translate-error.ts';

/**
 * Fetches under way, which go on when their askers have left: without a bound, a client that leaves and asks for the next one makes
 * them as many as it likes. A fleet node that begins with a hundred images has far fewer.
 */
const maxFetches = 256;

/**
 * Manifests by digest: memory, then the store, then the fleet and the origin. What comes from outside is parsed before it is
 * kept or served, and its bytes and media type are kept exactly.
 */
export class ManifestShelf {
  readonly #deps: ImagesDeps;
  readonly #options: ImagesOptions;
  readonly #metrics: ImageMetrics;
  readonly #tasks: TaskGroup;
  readonly #fetcher: ManifestFetcher;
  readonly #bytes: LRUCache<Digest, Uint8Array>;
  /** Fetches under way, by repository and digest: another repository's refusal says nothing about this one. */
  readonly #fetches = new Map<string, Promise<OpenedManifest>>();
  readonly #unknown: ExpiringCache<string, Error>;

  constructor(deps: ImagesDeps, options: ImagesOptions, metrics: ImageMetrics, tasks: TaskGroup) {
    this.#deps = deps;
    this.#options = options;
    this.#metrics = metrics;
    this.#tasks = tasks;
    this.#fetcher = new ManifestFetcher(deps, options, tasks);
    this.#bytes = new LRUCache({
      maxSize: options.manifestCacheBytes,
      sizeCalculation: (bytes) => Math.max(1, bytes.length),
    });
    this.#unknown = new ExpiringCache(deps.clock, options.negativeEntries);
  }

  async open(repository: Repository, digest: Digest, signal: AbortSignal): Promise<OpenedManifest> {
    const held = await this.findHeld(repository, digest);
    if (held !== undefined) {
      this.#metrics.manifests.add(1, { source: 'local' });
      return held;
    }
    const key = `${repository.namespace}/${repository.name}@${digest}`;
    const unknown = this.#unknown.find(key);
    if (unknown !== undefined) throw unknown;
    return await raceAbort(this.#fetches.get(key) ?? this.#startFetch(key, repository, digest), signal);
  }

  /** Finds a manifest that is here, whichever repository it came through. */
  async findHeld(repository: Repository, digest: Digest): Promise<OpenedManifest | undefined> {
    const record = await this.#findRecord(repository, digest);
    if (record === undefined) return undefined;
    const bytes = await this.#readBytes(digest);
    return bytes === undefined ? undefined : { record, bytes };
  }

  /** Finds a manifest for a peer; one that is on its way from the origin is waited for. */
  async findForPeer(
    digest: Digest,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<{ mediaType: string; bytes: Uint8Array } | undefined> {
    const record = await this.#deps.store.metadata.findManifestAnywhere(digest);
    const bytes = record === undefined ? undefined : await this.#readBytes(digest);
    if (record !== undefined && bytes !== undefined) return { mediaType: record.mediaType, bytes };
    return await this.#fetcher.waitForFetch(digest, waitMs, signal);
  }

  async #findRecord(repository: Repository, digest: Digest): Promise<ManifestRecord | undefined> {
    const { metadata } = this.#deps.store;
    const here = await metadata.findManifest(repository, digest);
    if (here !== undefined) return here;
    const elsewhere = await metadata.findManifestAnywhere(digest);
    if (elsewhere === undefined || (await this.#deps.store.blobs.findBlob(digest)) === undefined) return undefined;
    // Pushed to one repository is cached in the other: only there it may not be evicted.
    const linked: ManifestRecord = { ...elsewhere, provenance: 'cache' };
    await metadata.putManifest(repository, linked);
    return linked;
  }

  async #readBytes(digest: Digest): Promise<Uint8Array | undefined> {
    const cached = this.#bytes.get(digest);
    if (cached !== undefined) return cached;
    const { blobs } = this.#deps.store;
    const found = await blobs.findBlob(digest);
    if (found === undefined || found.sizeBytes > maxManifestBytes) return undefined;
    try {
      const handle = await blobs.openBlob(digest);
      try {
        const bytes = Buffer.allocUnsafeSlow(handle.sizeBytes);
        for (let at = 0; at < bytes.length; ) {
          const count = await handle.read(bytes.subarray(at), at);
          if (count === 0) break;
          at += count;
        }
        // A manifest steers a whole pull, and hashing a few kilobytes costs nothing beside reading them.
        if (digestOf(bytes, digestAlgorithm(digest)) === digest) {
          this.#bytes.set(digest, bytes);
          return bytes;
        }
      } finally {
        await handle.close();
      }
      await this.#quarantine(digest, 'manifest bytes do not hash to their digest');
    } catch (error) {
      if (!isCode(error, 'STORE_NOT_FOUND')) await this.#quarantine(digest, 'manifest cannot be read');
    }
    return undefined;
  }

  async #quarantine(digest: Digest, reason: string): Promise<void> {
    this.#deps.logger.error({ digest, reason }, 'held manifest is damaged and will be fetched again');
    await this.#deps.store.blobs.quarantineBlob(digest, reason);
  }

  #startFetch(key: string, repository: Repository, digest: Digest): Promise<OpenedManifest> {
    if (this.#fetches.size >= maxFetches) {
      const { namespace, name } = repository;
      const details = { namespace, repository: name, reference: digest };
      throw new ImageError('IMAGE_UNAVAILABLE', `${maxFetches} manifests are being fetched already`, { details });
    }
    const fetching = this.#fetch(key, repository, digest).finally(() => this.#fetches.delete(key));
    this.#fetches.set(key, fetching);
    // The fetch goes on when its askers leave; its failure is theirs to hear, not the group's.
    this.#tasks.run(() => fetching.catch(() => {}));
    return fetching;
  }

  async #fetch(key: string, repository: Repository, digest: Digest): Promise<OpenedManifest> {
    try {
      const { mediaType, bytes, parsed, source } = await this.#fetcher.fetch(repository, digest);
      const record: ManifestRecord = {
        digest,
        mediaType,
        sizeBytes: bytes.length,
        children: parsed.children,
        ...(parsed.subject !== undefined && { subject: parsed.subject.digest }),
        ...(parsed.artifactType !== undefined && { artifactType: parsed.artifactType }),
        provenance: 'cache',
        storedAtMs: this.#deps.clock.wallMs(),
      };
      await this.#keep(repository, record, bytes);
      this.#metrics.manifests.add(1, { source });
      return { record, bytes };
    } catch (thrown) {
      this.#fetcher.giveUp(digest);
      const error = toImageError(thrown, { kind: 'manifest', repository, reference: digest });
      this.#metrics.manifests.add(1, { source: 'failed' });
      if (isCode(error, 'IMAGE_MANIFEST_UNKNOWN')) this.#unknown.put(key, error, this.#options.negativeMs);
      throw error;
    }
  }

  /** A full or failing disk does not keep a manifest from the client that waits for it: its bytes are verified and here. */
  async #keep(repository: Repository, record: ManifestRecord, bytes: Uint8Array): Promise<void> {
    const { store, logger } = this.#deps;
    try {
      await store.blobs.writeBlob(record.digest, bytes);
      await store.metadata.putManifest(repository, record);
      this.#bytes.set(record.digest, bytes);
      this.#fetcher.offer(record.digest);
    } catch (error) {
      if (!isCode(error, 'STORE_FULL', 'STORE_UNWRITABLE')) throw error;
      this.#fetcher.giveUp(record.digest);
      logger.error({ digest: record.digest, error }, 'manifest is served and cannot be kept');
    }
  }
}
