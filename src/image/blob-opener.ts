import { startDeadline } from '../lib/deadline.ts';
import { isCode } from '../lib/errors.ts';
import { ExpiringCache } from '../lib/expiring-cache.ts';
import { SingleFlight } from '../lib/single-flight.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';
import type { Download } from '../swarm/swarm.ts';
import type { ImagesDeps } from './deps.ts';
import type { OpenedBlob, RangeReader } from './images.ts';
import type { ImageMetrics } from './metrics.ts';
import type { ImagesOptions } from './options.ts';
import { HealingReader, SwarmReader } from './range-readers.ts';
import { askWithin } from './tag-resolver.ts';
import { isTemporary, toImageError } from './translate-error.ts';

/** Blobs by digest: from the store, else from the download under way or a new one. */
export class BlobOpener {
  readonly #deps: ImagesDeps;
  readonly #options: ImagesOptions;
  readonly #metrics: ImageMetrics;
  readonly #sizes = new SingleFlight<string, number>();
  readonly #unknown: ExpiringCache<string, Error>;

  constructor(deps: ImagesDeps, options: ImagesOptions, metrics: ImageMetrics) {
    this.#deps = deps;
    this.#options = options;
    this.#metrics = metrics;
    this.#unknown = new ExpiringCache(deps.clock, options.negativeEntries);
  }

  async stat(repository: Repository, digest: Digest, signal: AbortSignal): Promise<{ sizeBytes: number }> {
    const held = await this.#deps.store.blobs.findBlob(digest);
    const sizeBytes = held?.sizeBytes ?? (await this.#findSize(repository, digest, signal));
    return { sizeBytes };
  }

  async open(repository: Repository, digest: Digest, signal: AbortSignal): Promise<OpenedBlob> {
    const held = await this.#deps.store.blobs.findBlob(digest);
    if (held !== undefined) {
      this.#metrics.blobs.add(1, { source: 'local' });
      const { sizeBytes } = held;
      return { sizeBytes, source: 'local', open: (range) => this.#openHeld(repository, digest, sizeBytes, range) };
    }
    const sizeBytes = await this.#findSize(repository, digest, signal);
    const download = this.startDownload(repository, digest, sizeBytes);
    this.#metrics.blobs.add(1, { source: 'swarm' });
    return {
      sizeBytes,
      source: 'swarm',
      open: async (range) =>
        new SwarmReader(download.openReader(range), { kind: 'blob', repository, reference: digest }),
    };
  }

  /** Joins the download of a blob, or starts it. */
  startDownload(repository: Repository, digest: Digest, sizeBytes: number): Download {
    const [download] = this.#deps.swarm.fetch([{ digest, sizeBytes, repository }]);
    if (download === undefined) throw new RangeError('the swarm gave no download for a request');
    // Readers hear of a failure by themselves.
    download.done.catch(() => {});
    return download;
  }

  /** The file is opened before anything is promised to the client; from then on it stays readable even if removed. */
  async #openHeld(
    repository: Repository,
    digest: Digest,
    sizeBytes: number,
    range: { start: number; end: number },
  ): Promise<RangeReader> {
    const wanted = { kind: 'blob', repository, reference: digest } as const;
    const openSwarm = () =>
      new SwarmReader(this.startDownload(repository, digest, sizeBytes).openReader(range), wanted);
    try {
      const handle = await this.#deps.store.blobs.openBlob(digest);
      return new HealingReader(handle, range.end, async (error) => {
        this.#metrics.healed.add(1);
        this.#deps.logger.error({ digest, error }, 'held blob cannot be read and will be fetched again');
        await this.#deps.store.blobs.quarantineBlob(digest, 'read failed');
        return openSwarm();
      });
    } catch (error) {
      if (!isCode(error, 'STORE_NOT_FOUND')) throw toImageError(error, wanted);
      return openSwarm();
    }
  }

  /** A download under way knows it, or a manifest that was served says it, or the origin, or a peer. */
  async #findSize(repository: Repository, digest: Digest, signal: AbortSignal): Promise<number> {
    const downloading = this.#deps.swarm.findDownload(digest)?.sizeBytes;
    if (downloading !== undefined) return downloading;
    const parents = await this.#deps.store.metadata.findParents(digest);
    const sameName = parents.find(
      ({ repository: { namespace, name } }) => namespace === repository.namespace && name === repository.name,
    );
    const described = (sameName ?? parents[0])?.descriptor.sizeBytes;
    if (described !== undefined) return described;

    const key = `${repository.namespace}/${repository.name}@${digest}`;
    const unknown = this.#unknown.find(key);
    if (unknown !== undefined) throw unknown;
    return await this.#sizes.run(key, signal, (shared) => this.#askForSize(key, repository, digest, shared));
  }

  async #askForSize(key: string, repository: Repository, digest: Digest, signal: AbortSignal): Promise<number> {
    try {
      const { origin, clock } = this.#deps;
      return await askWithin(clock, this.#options.originTimeouts.sizeMs, signal, async (within) => {
        return (await origin.statBlob(repository, digest, { signal: within })).sizeBytes;
      });
    } catch (thrown) {
      const error = toImageError(thrown, { kind: 'blob', repository, reference: digest });
      if (isCode(error, 'IMAGE_BLOB_UNKNOWN')) this.#unknown.put(key, error, this.#options.negativeMs);
      if (!isTemporary(error) && !isCode(error, 'IMAGE_NAMESPACE_REFUSED')) throw error;
      const told = await this.#deps.tagHints.findSize(digest, await this.#findProviders(digest, signal), signal);
      if (told === undefined) throw error;
      return told;
    }
  }

  async #findProviders(digest: Digest, signal: AbortSignal) {
    using deadline = startDeadline(this.#deps.clock, this.#options.directoryTimeoutMs, signal);
    try {
      const found = await this.#deps.directory.find([digest], deadline.signal);
      return (found.get(digest) ?? []).map(({ peer }) => peer);
    } catch {
      signal.throwIfAborted();
      return [];
    }
  }
}
