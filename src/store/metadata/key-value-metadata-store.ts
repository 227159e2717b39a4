import { KeyedMutex } from '../../lib/keyed-mutex.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Repository } from '../../oci/repository.ts';
import type { KeyChange, KeyValue } from '../key-value.ts';
import type { ManifestRecord, MetadataStore, ParentEdge, ReferenceEdge, TagRecord } from '../metadata-store.ts';
import { keyDigest, keyParts, keys, prefixRange, readEdgeKey, repositoryPart } from './keys.ts';
import type { LeaseTable } from './lease-table.ts';
import type { NameLog } from './name-log.ts';
import { decodeRecord, encodeRecord, readLink, readManifest, readTag } from './records.ts';
import { changeEdges, type Edge, readCount } from './reference-edges.ts';

export interface KeyValueMetadataDeps {
  readonly keyValue: KeyValue;
  readonly leases: LeaseTable;
  readonly names: NameLog;
}

/** Keeps metadata in any ordered key-value database; the same code serves the disk store and the memory twin. */
export function createKeyValueMetadataStore(deps: KeyValueMetadataDeps): MetadataStore {
  return new KeyValueMetadataStore(deps);
}

// Tag locks and digest locks are apart; a tag lock is always taken first, so that no two holders can wait for each other.
class KeyValueMetadataStore implements MetadataStore {
  readonly #keyValue: KeyValue;
  readonly #leases: LeaseTable;
  readonly #names: NameLog;
  readonly #tagLocks = new KeyedMutex();
  readonly #digestLocks = new KeyedMutex();

  constructor(deps: KeyValueMetadataDeps) {
    this.#keyValue = deps.keyValue;
    this.#leases = deps.leases;
    this.#names = deps.names;
  }

  async putManifest(repository: Repository, manifest: ManifestRecord): Promise<void> {
    const { digest, subject } = manifest;
    const owner = `${repositoryPart(repository)}!${digest}`;
    const edges: Edge[] = [
      { digest, letter: 'l', owner: repositoryPart(repository) },
      ...manifest.children.map((child): Edge => ({ digest: child.digest, letter: 'm', owner })),
      ...(subject === undefined ? [] : [{ digest: subject, letter: 's', owner } as const]),
    ];
    await this.#digestLocks.runAll(
      edges.map((edge) => edge.digest),
      async () => {
        const known = await this.#findDescription(digest);
        const linked = await this.findManifest(repository, digest);
        const isLocal = manifest.provenance === 'local' || linked?.provenance === 'local';
        const link = {
          provenance: isLocal ? 'local' : 'cache',
          storedAtMs: linked?.storedAtMs ?? manifest.storedAtMs,
        } as const;
        const description: ManifestRecord = {
          ...manifest,
          // What one repository was pushed to must not look evictable because another one only caches it.
          provenance: known?.provenance === 'local' ? 'local' : link.provenance,
          storedAtMs: known?.storedAtMs ?? manifest.storedAtMs,
        };
        const changes: KeyChange[] = [
          ...(await changeEdges(this.#keyValue, { put: edges })),
          ...(await putIfChanged(this.#keyValue, keys.description(digest), encodeRecord(description))),
          ...(await putIfChanged(this.#keyValue, keys.manifest(repository, digest), encodeRecord(link))),
          ...(await putIfChanged(this.#keyValue, keys.repository(repository), '')),
          ...(subject === undefined
            ? []
            : await putIfChanged(this.#keyValue, keys.referrer(repository, subject, digest), '')),
        ];
        if (changes.length === 0) return;
        await this.#keyValue.batch(changes, { isDurable: true });
        await this.#names.append({ kind: 'link', repository, digest, mediaType: manifest.mediaType, ...link });
      },
    );
  }

  async findManifest(repository: Repository, digest: Digest): Promise<ManifestRecord | undefined> {
    const key = keys.manifest(repository, digest);
    const link = await this.#keyValue.find(key);
    if (link === undefined) return undefined;
    const description = await this.#findDescription(digest);
    return description === undefined ? undefined : { ...description, ...decodeRecord(key, link, readLink) };
  }

  async findManifestAnywhere(digest: Digest): Promise<ManifestRecord | undefined> {
    return this.#findDescription(digest);
  }

  async putTag(repository: Repository, tag: string, record: TagRecord): Promise<void> {
    const key = keys.tag(repository, tag);
    const owner = key.slice('t!'.length);
    await this.#tagLocks.run(key, async () => {
      const old = await this.findTag(repository, tag);
      const put: Edge[] = [{ digest: record.digest, letter: 't', owner }];
      const del: Edge[] =
        old === undefined || old.digest === record.digest ? [] : [{ digest: old.digest, letter: 't', owner }];
      await this.#digestLocks.runAll(
        [...put, ...del].map((edge) => edge.digest),
        async () => {
          const isRefresh = old !== undefined && pointsAlike(old, record);
          await this.#keyValue.batch(
            [
              ...(await changeEdges(this.#keyValue, { put, del })),
              { type: 'put', key, value: encodeRecord(record) },
              ...(await putIfChanged(this.#keyValue, keys.repository(repository), '')),
            ],
            // Losing a refresh in a power cut costs one question to the origin; waiting for the disk on each would cost more.
            { isDurable: !isRefresh },
          );
          if (!isRefresh) await this.#names.append({ kind: 'tag', repository, tag, record });
        },
      );
    });
  }

  async findTag(repository: Repository, tag: string): Promise<TagRecord | undefined> {
    const key = keys.tag(repository, tag);
    const text = await this.#keyValue.find(key);
    return text === undefined ? undefined : decodeRecord(key, text, readTag);
  }

  async deleteTag(repository: Repository, tag: string): Promise<void> {
    const key = keys.tag(repository, tag);
    await this.#tagLocks.run(key, async () => {
      const old = await this.findTag(repository, tag);
      if (old === undefined) return;
      await this.#digestLocks.run(old.digest, async () => {
        await this.#names.append({ kind: 'untag', repository, tag });
        const del: Edge[] = [{ digest: old.digest, letter: 't', owner: key.slice('t!'.length) }];
        await this.#keyValue.batch([...(await changeEdges(this.#keyValue, { del })), { type: 'del', key }], {
          isDurable: true,
        });
      });
    });
  }

  async listTags(repository: Repository, options: { last?: string; limit: number }): Promise<string[]> {
    const prefix = `t!${repositoryPart(repository)}!`;
    const after = options.last === undefined ? undefined : keys.tag(repository, options.last).slice(prefix.length);
    const tags: string[] = [];
    for await (const [key] of this.#keyValue.walk({ ...prefixRange(prefix, after), limit: options.limit })) {
      tags.push(keyParts(key)[3] ?? '');
    }
    return tags;
  }

  async listRepositories(options: { last?: Repository; limit: number }): Promise<Repository[]> {
    const after = options.last === undefined ? undefined : repositoryPart(options.last);
    const repositories: Repository[] = [];
    if (options.limit <= 0) return repositories;
    for await (const [key] of this.#keyValue.walk(prefixRange('n!', after))) {
      const [, namespace = '', name = ''] = keyParts(key);
      const repository = { namespace, name };
      // A name stays behind when its last tag goes; checking here is cheaper than a lock around every write.
      const part = repositoryPart(repository);
      if (!(await this.#hasAny(`t!${part}!`)) && !(await this.#hasAny(`m!${part}!`))) continue;
      repositories.push(repository);
      if (repositories.length === options.limit) break;
    }
    return repositories;
  }

  async *walkManifests(repository: Repository): AsyncIterable<ManifestRecord> {
    for await (const [key] of this.#keyValue.walk(prefixRange(`m!${repositoryPart(repository)}!`))) {
      const digest = keyDigest(keyParts(key)[3]);
      const manifest = digest === undefined ? undefined : await this.findManifest(repository, digest);
      if (manifest !== undefined) yield manifest;
    }
  }

  async findParents(digest: Digest): Promise<ParentEdge[]> {
    const parents: ParentEdge[] = [];
    for await (const [key] of this.#keyValue.walk(prefixRange(`r!${digest}!m!`))) {
      const [, , , namespace = '', name = '', manifestText] = keyParts(key);
      const manifest = keyDigest(manifestText);
      if (manifest === undefined) continue;
      const description = await this.#findDescription(manifest);
      const descriptor = description?.children.find((child) => child.digest === digest);
      if (descriptor !== undefined) parents.push({ repository: { namespace, name }, manifest, descriptor });
    }
    return parents;
  }

  async lease(owner: string, digests: readonly Digest[], expiresAtMs: number): Promise<void> {
    this.#leases.extend(owner, digests, expiresAtMs);
  }

  expireLeases(nowMs: number): Promise<number> {
    return this.#leases.expire(nowMs);
  }

  async listEdges(digest: Digest): Promise<ReferenceEdge[]> {
    const edges: ReferenceEdge[] = [];
    for await (const [key] of this.#keyValue.walk(prefixRange(`r!${digest}!`))) {
      const edge = readEdgeKey(key);
      if (edge !== undefined) edges.push(edge);
    }
    return [...edges, ...this.#leases.owners(digest).map((owner) => ({ kind: 'lease', owner }) as const)];
  }

  async countEdges(digest: Digest): Promise<number> {
    return (await readCount(this.#keyValue, digest)) + this.#leases.count(digest);
  }

  async #findDescription(digest: Digest): Promise<ManifestRecord | undefined> {
    const key = keys.description(digest);
    const text = await this.#keyValue.find(key);
    return text === undefined ? undefined : decodeRecord(key, text, readManifest);
  }

  async #hasAny(prefix: string): Promise<boolean> {
    for await (const _ of this.#keyValue.walk({ ...prefixRange(prefix), limit: 1 })) return true;
    return false;
  }
}

async function putIfChanged(keyValue: KeyValue, key: string, value: string): Promise<KeyChange[]> {
  return (await keyValue.find(key)) === value ? [] : [{ type: 'put', key, value }];
}

function pointsAlike(one: TagRecord, other: TagRecord): boolean {
  return one.digest === other.digest && one.mediaType === other.mediaType && one.sizeBytes === other.sizeBytes;
}
