import type { TaskGroup } from '../lib/task-group.ts';
import { type Descriptor, isRequired } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { parseManifest } from '../oci/manifest.ts';
import type { Repository } from '../oci/repository.ts';
import type { ManifestRecord } from '../store/metadata-store.ts';
import type { ImagesDeps } from './deps.ts';
import { ImageError } from './errors.ts';
import type { ImageSummary, RepositoryPage, TagPage } from './images.ts';
import type { ManifestShelf } from './manifest-shelf.ts';
import type { ImagesOptions } from './options.ts';
import { askWithin } from './tag-resolver.ts';
import { isTemporary, toImageError } from './translate-error.ts';

/** As many tags as one answer may carry; more are fetched page by page. */
const maxTagsPerPage = 1000;
/** An operator's list, not an archive: past it the page says less, the catalogue API still pages through all. */
const maxImagesListed = 2000;

/** Lists: tags of a repository, repositories, referrers, images. */
export class Catalogue {
  readonly #deps: ImagesDeps;
  readonly #options: ImagesOptions;
  readonly #tasks: TaskGroup;
  readonly #manifests: ManifestShelf;

  constructor(deps: ImagesDeps, options: ImagesOptions, tasks: TaskGroup, manifests: ManifestShelf) {
    this.#deps = deps;
    this.#options = options;
    this.#tasks = tasks;
    this.#manifests = manifests;
  }

  /** The origin knows all tags; what this node holds stands in for it when it cannot be asked. */
  async listTags(
    repository: Repository,
    page: { limit?: number; last?: string },
    signal: AbortSignal,
  ): Promise<TagPage> {
    const limit = Math.min(page.limit ?? maxTagsPerPage, maxTagsPerPage);
    const { origin, clock } = this.#deps;
    const { last } = page;
    if (!origin.allows(repository.namespace)) return await this.#listHeldTags(repository, limit, last);
    try {
      return await askWithin(clock, this.#options.originTimeouts.listMs, signal, (within) =>
        origin.listTags(repository, { limit, ...(last !== undefined && { last }) }, { signal: within }),
      );
    } catch (thrown) {
      const error = toImageError(thrown, { kind: 'repository', repository });
      if (!isTemporary(error)) throw error;
      return await this.#listHeldTags(repository, limit, last, error);
    }
  }

  async listRepositories({ limit, last }: { limit: number; last?: Repository }): Promise<RepositoryPage> {
    const found = await this.#deps.store.metadata.listRepositories({
      limit: limit + 1,
      ...(last !== undefined && { last }),
    });
    return { repositories: found.slice(0, limit), hasMore: found.length > limit };
  }

  async listReferrers(repository: Repository, subject: Digest): Promise<readonly Descriptor[]> {
    const referrers: Descriptor[] = [];
    for await (const record of this.#deps.store.metadata.walkManifests(repository)) {
      if (record.subject !== subject) continue;
      const held = await this.#manifests.findHeld(repository, record.digest);
      if (held === undefined) continue;
      const parsed = parseManifest(held.bytes, record.mediaType);
      const artifactType = parsed.artifactType ?? parsed.config?.mediaType;
      referrers.push({
        mediaType: record.mediaType,
        digest: record.digest,
        sizeBytes: record.sizeBytes,
        ...(artifactType !== undefined && { artifactType }),
        ...(parsed.annotations !== undefined && { annotations: parsed.annotations }),
      });
    }
    return referrers;
  }

  async listImages(): Promise<readonly ImageSummary[]> {
    const images: ImageSummary[] = [];
    let last: Repository | undefined;
    for (;;) {
      const page = await this.listRepositories({ limit: 100, ...(last !== undefined && { last }) });
      for (const repository of page.repositories) {
        images.push(...(await this.#listImagesOf(repository)));
        if (images.length >= maxImagesListed || this.#tasks.signal.aborted) return images.slice(0, maxImagesListed);
      }
      last = page.repositories.at(-1);
      if (!page.hasMore || last === undefined) return images;
    }
  }

  async #listHeldTags(
    repository: Repository,
    limit: number,
    last: string | undefined,
    failure?: Error,
  ): Promise<TagPage> {
    const { metadata } = this.#deps.store;
    const found = await metadata.listTags(repository, { limit: limit + 1, ...(last !== undefined && { last }) });
    if (found.length === 0 && last === undefined) {
      if (failure !== undefined) throw failure;
      throw new ImageError('IMAGE_REPOSITORY_UNKNOWN', 'no such repository on this node', {
        details: { namespace: repository.namespace, repository: repository.name },
      });
    }
    return { tags: found.slice(0, limit), hasMore: found.length > limit };
  }

  /** A root is a manifest that has a tag, or that no other manifest of the repository names. */
  async #listImagesOf(repository: Repository): Promise<ImageSummary[]> {
    const records = new Map<Digest, ManifestRecord>();
    const children = new Set<Digest>();
    for await (const record of this.#deps.store.metadata.walkManifests(repository)) {
      records.set(record.digest, record);
      for (const child of record.children) children.add(child.digest);
    }
    const tags = await this.#tagsByDigest(repository);
    const roots = [...records.values()].filter(({ digest }) => tags.has(digest) || !children.has(digest));
    return await Promise.all(
      roots.map(async (root) => {
        const { digest, mediaType, provenance } = root;
        const { sizeBytes, heldBytes } = await this.#measure(root, records);
        return { repository, tags: tags.get(digest) ?? [], digest, mediaType, sizeBytes, heldBytes, provenance };
      }),
    );
  }

  async #tagsByDigest(repository: Repository): Promise<Map<Digest, string[]>> {
    const { metadata } = this.#deps.store;
    const tags = new Map<Digest, string[]>();
    for (const tag of await metadata.listTags(repository, { limit: maxImagesListed })) {
      const record = await metadata.findTag(repository, tag);
      if (record !== undefined) tags.set(record.digest, [...(tags.get(record.digest) ?? []), tag]);
    }
    return tags;
  }

  /** Adds up what the root names, each thing once: of an index only the images whose manifest is here. */
  async #measure(root: ManifestRecord, records: ReadonlyMap<Digest, ManifestRecord>) {
    const sizes = new Map<Digest, number>([[root.digest, root.sizeBytes]]);
    const queue = [root];
    for (let record = queue.shift(); record !== undefined; record = queue.shift()) {
      const isIndex = record.children.some(({ digest }) => records.has(digest));
      for (const child of record.children) {
        const nested = records.get(child.digest);
        if (sizes.has(child.digest) || !isRequired(child) || (isIndex && nested === undefined)) continue;
        sizes.set(child.digest, child.sizeBytes);
        if (nested !== undefined) queue.push(nested);
      }
    }
    let sizeBytes = 0;
    let heldBytes = 0;
    for (const [digest, size] of sizes) {
      sizeBytes += size;
      if ((await this.#deps.store.blobs.findBlob(digest)) !== undefined) heldBytes += size;
    }
    return { sizeBytes, heldBytes };
  }
}
