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
export function changeEdges(
  keyValue: KeyValue,
  edges: { readonly put?: readonly Edge[]; readonly del?: readonly Edge[] },
): KeyChange[] {
  const changes = new Map<string, KeyChange>();
  const deltas = new Map<Digest, number>();
  for (const edge of edges.put ?? []) {
    const key = keys.edge(edge.digest, edge.letter, edge.owner);
    if (changes.has(key) || keyValue.find(key) !== undefined) continue;
    changes.set(key, { type: 'put', key, value: '' });
    deltas.set(edge.digest, (deltas.get(edge.digest) ?? 0) + 1);
  }
  for (const edge of edges.del ?? []) {
    const key = keys.edge(edge.digest, edge.letter, edge.owner);
    if (changes.has(key) || keyValue.find(key) === undefined) continue;
    changes.set(key, { type: 'del', key });
    deltas.set(edge.digest, (deltas.get(edge.digest) ?? 0) - 1);
  }
  return [
    ...changes.values(),
    ...[...deltas].map(([digest, delta]) => countChange(digest, readCount(keyValue, digest) + delta)),
  ];
}

/** Reads the derived counter; a digest nobody refers to has none. */
export function readCount(keyValue: KeyValue, digest: Digest): number {
  return Number(keyValue.find(keys.count(digest)) ?? 0);
}

export function countChange(digest: Digest, count: number): KeyChange {
  const key = keys.count(digest);
  return count > 0 ? { type: 'put', key, value: String(count) } : { type: 'del', key };
}
