import type { Digest } from '../../oci/digest.ts';
import type { KeyChange, KeyValue } from '../key-value.ts';
import { type EdgeLetter, keys } from './keys.ts';

/** One reference: `digest` is held because of `owner` (escaped key parts). */
export interface Edge {
  readonly digest: Digest;
  readonly letter: EdgeLetter;
  readonly owner: string;
}

/**
 * Computes the batch that puts and deletes edges and brings their counters along. Edges that are already there (or already gone)
 * change nothing, so a repeated call cannot skew a counter. The caller holds the locks of all the digests.
 */
export async function changeEdges(
  keyValue: KeyValue,
  edges: { readonly put?: readonly Edge[]; readonly del?: readonly Edge[] },
): Promise<KeyChange[]> {
  const changes = new Map<string, KeyChange>();
  const deltas = new Map<Digest, number>();
  for (const edge of edges.put ?? []) {
    const key = keys.edge(edge.digest, edge.letter, edge.owner);
    if (changes.has(key) || (await keyValue.find(key)) !== undefined) continue;
    changes.set(key, { type: 'put', key, value: '' });
    deltas.set(edge.digest, (deltas.get(edge.digest) ?? 0) + 1);
  }
  for (const edge of edges.del ?? []) {
    const key = keys.edge(edge.digest, edge.letter, edge.owner);
    if (changes.has(key) || (await keyValue.find(key)) === undefined) continue;
    changes.set(key, { type: 'del', key });
    deltas.set(edge.digest, (deltas.get(edge.digest) ?? 0) - 1);
  }
  const counts: KeyChange[] = [];
  for (const [digest, delta] of deltas) counts.push(countChange(digest, (await readCount(keyValue, digest)) + delta));
  return [...changes.values(), ...counts];
}

/** Reads the derived counter; a digest nobody refers to has none. */
export async function readCount(keyValue: KeyValue, digest: Digest): Promise<number> {
  return Number((await keyValue.find(keys.count(digest))) ?? 0);
}

export function countChange(digest: Digest, count: number): KeyChange {
  const key = keys.count(digest);
  return count > 0 ? { type: 'put', key, value: String(count) } : { type: 'del', key };
}
