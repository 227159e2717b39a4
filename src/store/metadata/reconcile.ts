import type { Digest } from '../../oci/digest.ts';
import type { Repository } from '../../oci/repository.ts';
import type { KeyChange, KeyValue } from '../key-value.ts';
import type { TagRecord } from '../metadata-store.ts';
import { type EdgeLetter, keyDigest, keyParts, keys, prefixRange, repositoryPart } from './keys.ts';
import type { NameEntry } from './name-log.ts';
import { decodeRecord, readLink, readManifest, readTag } from './records.ts';
import { countChange, type Edge, readCount } from './reference-edges.ts';

// Enough changes to make the flush worth while, few enough to stay far below LevelDB's write buffer.
const batchChanges = 500;

/** Walks every name the index holds, as the name log would say it. */
export async function* walkNames(keyValue: KeyValue): AsyncIterable<NameEntry> {
  for await (const [key, text] of keyValue.walk(prefixRange('m!'))) {
    const { repository, last } = namedBy(key);
    const digest = keyDigest(last);
    const description = digest === undefined ? undefined : await findDescription(keyValue, digest);
    if (digest === undefined || description === undefined) continue;
    const link = decodeRecord(key, text, readLink);
    yield { kind: 'link', repository, digest, mediaType: description.mediaType, ...link };
  }
  for await (const [key, text] of keyValue.walk(prefixRange('t!'))) {
    const { repository, last } = namedBy(key);
    yield { kind: 'tag', repository, tag: last, record: decodeRecord<TagRecord>(key, text, readTag) };
  }
}

/**
 * Makes edges and counters what the manifests and tags say, after a repair or a loss: puts what is missing, deletes what has no
 * owner, counts again. One pass over the names, one over the edges; memory stays small.
 */
export async function reconcileEdges(keyValue: KeyValue): Promise<void> {
  const writer = new Writer(keyValue);
  for await (const entry of walkNames(keyValue)) {
    for (const edge of await edgesOf(keyValue, entry)) {
      const key = keys.edge(edge.digest, edge.letter, edge.owner);
      if ((await keyValue.find(key)) === undefined) await writer.add({ type: 'put', key, value: '' });
    }
    for (const key of await plainKeysOf(keyValue, entry)) {
      if ((await keyValue.find(key)) === undefined) await writer.add({ type: 'put', key, value: '' });
    }
  }
  await writer.flush();
  let current: { digest: Digest; count: number } | undefined;
  const settle = async () => {
    if (current === undefined || (await readCount(keyValue, current.digest)) === current.count) return;
    await writer.add(countChange(current.digest, current.count));
  };
  for await (const [key] of keyValue.walk(prefixRange('r!'))) {
    const digest = keyDigest(keyParts(key)[1]);
    if (digest === undefined) continue;
    if (digest !== current?.digest) {
      await settle();
      current = { digest, count: 0 };
    }
    if (await hasOwner(keyValue, key)) current.count += 1;
    else await writer.add({ type: 'del', key });
  }
  await settle();
  for await (const [key] of keyValue.walk(prefixRange('c!'))) {
    if (!(await hasAny(keyValue, `r!${keyParts(key)[1]}!`))) await writer.add({ type: 'del', key });
  }
  await writer.flush();
}

async function edgesOf(keyValue: KeyValue, entry: NameEntry): Promise<Edge[]> {
  const repository = repositoryPart(entry.repository);
  if (entry.kind === 'untag') return [];
  if (entry.kind === 'tag') {
    const owner = keys.tag(entry.repository, entry.tag).slice('t!'.length);
    return [{ digest: entry.record.digest, letter: 't', owner }];
  }
  const description = await findDescription(keyValue, entry.digest);
  const owner = `${repository}!${entry.digest}`;
  return [
    { digest: entry.digest, letter: 'l', owner: repository },
    ...(description?.children ?? []).map((child): Edge => ({ digest: child.digest, letter: 'm', owner })),
    ...(description?.subject === undefined ? [] : [{ digest: description.subject, letter: 's', owner } as const]),
  ];
}

async function plainKeysOf(keyValue: KeyValue, { repository, ...entry }: NameEntry): Promise<string[]> {
  const subject = entry.kind === 'link' ? (await findDescription(keyValue, entry.digest))?.subject : undefined;
  const name = keys.repository(repository);
  if (entry.kind !== 'link' || subject === undefined) return [name];
  return [name, keys.referrer(repository, subject, entry.digest)];
}

/** Tells whether what an edge's key names as its owner is there and really refers to the digest. */
async function hasOwner(keyValue: KeyValue, key: string): Promise<boolean> {
  const [, digestText, letterText, namespace = '', name = '', last = ''] = keyParts(key);
  const digest = keyDigest(digestText);
  const letter = letterText as EdgeLetter;
  const repository: Repository = { namespace, name };
  if (digest === undefined) return false;
  if (letter === 'P') return true;
  if (letter === 'l') return (await keyValue.find(keys.manifest(repository, digest))) !== undefined;
  if (letter === 't') {
    const text = await keyValue.find(keys.tag(repository, last));
    return text !== undefined && decodeRecord(key, text, readTag).digest === digest;
  }
  const manifest = keyDigest(last);
  if (manifest === undefined || (await keyValue.find(keys.manifest(repository, manifest))) === undefined) return false;
  const description = await findDescription(keyValue, manifest);
  if (letter === 's') return description?.subject === digest;
  return description?.children.some((child) => child.digest === digest) ?? false;
}

async function findDescription(keyValue: KeyValue, digest: Digest) {
  const key = keys.description(digest);
  const text = await keyValue.find(key);
  return text === undefined ? undefined : decodeRecord(key, text, readManifest);
}

function namedBy(key: string): { repository: Repository; last: string } {
  const [, namespace = '', name = '', last = ''] = keyParts(key);
  return { repository: { namespace, name }, last };
}

async function hasAny(keyValue: KeyValue, prefix: string): Promise<boolean> {
  for await (const _ of keyValue.walk({ ...prefixRange(prefix), limit: 1 })) return true;
  return false;
}

class Writer {
  readonly #keyValue: KeyValue;
  #changes: KeyChange[] = [];

  constructor(keyValue: KeyValue) {
    this.#keyValue = keyValue;
  }

  async add(change: KeyChange): Promise<void> {
    this.#changes.push(change);
    if (this.#changes.length >= batchChanges) await this.flush();
  }

  async flush(): Promise<void> {
    const changes = this.#changes;
    this.#changes = [];
    await this.#keyValue.batch(changes, { isDurable: true });
  }
}
