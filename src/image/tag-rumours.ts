import type { TagHint } from '../discovery/tag-hints.ts';
import { startDeadline } from '../lib/deadline.ts';
import { ExpiringCache } from '../lib/expiring-cache.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import { type Digest, digestOf } from '../oci/digest.ts';
import { isManifestType } from '../oci/media-type.ts';
import type { Repository } from '../oci/repository.ts';
import type { TagRecord } from '../store/metadata-store.ts';
import type { ImagesDeps } from './deps.ts';
import type { ImagesOptions } from './options.ts';

export interface Remembered {
  readonly record: TagRecord;
  /** A peer told it, not this node's own store. */
  readonly isRumour: boolean;
}

// A process does not meet more tags than this between two restarts; past it the oldest is announced once more, which is harmless.
const spreadTagsKept = 10_000;
const aDayMs = 24 * 3600 * 1000;

/** What the fleet remembers of tags: who asked for one is found through the directory under a digest of the tag's name. */
export class TagRumours {
  readonly #deps: ImagesDeps;
  readonly #options: ImagesOptions;
  readonly #tasks: TaskGroup;
  readonly #spread: ExpiringCache<Digest, true>;

  constructor(deps: ImagesDeps, options: ImagesOptions, tasks: TaskGroup) {
    this.#deps = deps;
    this.#options = options;
    this.#tasks = tasks;
    this.#spread = new ExpiringCache(deps.clock, spreadTagsKept);
  }

  /** Lets the fleet find this node when it asks who knows the tag. Does not wait. */
  spread(repository: Repository, tag: string): void {
    const topic = tagTopic(repository, tag);
    if (this.#spread.find(topic) !== undefined) return;
    this.#spread.put(topic, true, aDayMs);
    this.#tasks.run((signal) => this.#deps.directory.announce([{ digest: topic, holding: 'complete' }], signal));
  }

  /** Picks the newest of what this node and its peers remember; more peers decide between equals. */
  async findNewest(
    repository: Repository,
    tag: string,
    own: TagRecord | undefined,
    signal: AbortSignal,
  ): Promise<Remembered | undefined> {
    const hints = await this.#deps.tagHints.find(
      repository,
      tag,
      await this.#findProviders(tagTopic(repository, tag), signal),
      signal,
    );
    const best = this.#choose(hints);
    if (best === undefined || (own !== undefined && own.confirmedAtMs >= best.confirmedAtMs)) {
      return own === undefined ? undefined : { record: own, isRumour: false };
    }
    await this.#deps.store.metadata.putTag(repository, tag, best);
    return { record: best, isRumour: true };
  }

  async #findProviders(topic: Digest, signal: AbortSignal) {
    using deadline = startDeadline(this.#deps.clock, this.#options.directoryTimeoutMs, signal);
    try {
      const found = await this.#deps.directory.find([topic], deadline.signal);
      return (found.get(topic) ?? []).map(({ peer }) => peer);
    } catch {
      signal.throwIfAborted();
      return [];
    }
  }

  #choose(hints: readonly TagHint[]): TagRecord | undefined {
    // A peer's clock may be ahead or a peer may boast: nobody heard from the origin later than now. And only an answer to this
    // very node makes a tag fresh here, so what is told stays older than the fresh window.
    const latestMs = this.#deps.clock.wallMs() - this.#options.tagFreshMs;
    const voices = new Map<Digest, { record: TagRecord; count: number }>();
    for (const { digest, mediaType, sizeBytes, confirmedAtMs } of hints) {
      if (!isManifestType(mediaType)) continue;
      const record = { digest, mediaType, sizeBytes, confirmedAtMs: Math.min(confirmedAtMs, latestMs) };
      const voice = voices.get(digest);
      const isNewer = voice === undefined || record.confirmedAtMs > voice.record.confirmedAtMs;
      voices.set(digest, { record: isNewer ? record : voice.record, count: (voice?.count ?? 0) + 1 });
    }
    return [...voices.values()].sort(
      (left, right) => right.record.confirmedAtMs - left.record.confirmedAtMs || right.count - left.count,
    )[0]?.record;
  }
}

/** The key under which the directory knows who has heard of a tag. */
function tagTopic(repository: Repository, tag: string): Digest {
  return digestOf(Buffer.from(`tag:${repository.namespace}/${repository.name}:${tag}`));
}
