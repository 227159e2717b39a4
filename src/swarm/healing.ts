import { LRUCache } from 'lru-cache';
import type { Directory } from '../discovery/directory.ts';
import type { Logger } from '../lib/logger.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';
import type { BlobStore } from '../store/blob-store.ts';
import type { CompletedBlobs } from './completed-blobs.ts';
import type { BlobRequest } from './swarm.ts';

/** Takes a stored blob that turned out to be rotten out of use, and fetches it again from whoever has it. */
export interface HealingDeps {
  readonly blobs: BlobStore;
  readonly directory: Directory;
  readonly completed: Pick<CompletedBlobs, 'remove'>;
  readonly tasks: TaskGroup;
  readonly logger: Logger;
  readonly fetch: (request: BlobRequest) => void;
  /** Tells where the origin has a blob that this node did not fetch in this life. */
  readonly findRepository?: ((digest: Digest) => Promise<Repository | undefined>) | undefined;
}

// The blobs of a few hundred images: enough that what rots is usually known, small enough to forget about.
const keptRepositories = 4096;

export class Healing {
  readonly #deps: HealingDeps;
  readonly #repositories = new LRUCache<Digest, Repository>({ max: keptRepositories });
  readonly #underWay = new Set<Digest>();

  constructor(deps: HealingDeps) {
    this.#deps = deps;
  }

  /** Remembers where a blob can be had again. */
  fetched(digest: Digest, repository: Repository): void {
    this.#repositories.set(digest, repository);
  }

  /** A stored blob does not match its hashes. Told of the same blob twice, it acts once. */
  rotten(digest: Digest, what: string): void {
    if (this.#underWay.has(digest)) return;
    this.#underWay.add(digest);
    this.#deps.logger.error({ digest, what }, 'a stored blob is rotten: quarantined, to be fetched again');
    this.#deps.tasks.run(async (signal) => {
      try {
        await this.#heal(digest, what, signal);
      } finally {
        this.#underWay.delete(digest);
      }
    });
  }

  async #heal(digest: Digest, what: string, signal: AbortSignal): Promise<void> {
    const { blobs, directory, logger } = this.#deps;
    const record = await blobs.findBlob(digest);
    if (record === undefined) return;
    await blobs.quarantineBlob(digest, what);
    this.#deps.completed.remove(digest);
    await directory.withdraw([digest], signal);
    const repository = this.#repositories.get(digest) ?? (await this.#deps.findRepository?.(digest));
    if (repository === undefined) {
      logger.warn({ digest }, 'nobody knows where the rotten blob came from: it is fetched when it is asked for');
      return;
    }
    this.#deps.fetch({ digest, sizeBytes: record.sizeBytes, repository });
  }
}
