import type { Digest } from '../../oci/digest.ts';
import type { Repository } from '../../oci/repository.ts';
import type { ManifestRecord, TagRecord } from '../metadata-store.ts';

/**
 * Where the metadata store writes down what the blob files cannot tell: which repository a manifest is in and what a tag points
 * at. With the files it is enough to rebuild a lost index.
 * Order matters: a name is logged after its batch, its removal before; so "logged but not in the index" always means loss.
 */
export interface NameLog {
  append(entry: NameEntry): Promise<void>;
}

export type NameEntry =
  | {
      readonly kind: 'link';
      readonly repository: Repository;
      readonly digest: Digest;
      readonly mediaType: string;
      readonly provenance: ManifestRecord['provenance'];
      readonly storedAtMs: number;
    }
  | { readonly kind: 'tag'; readonly repository: Repository; readonly tag: string; readonly record: TagRecord }
  | { readonly kind: 'untag'; readonly repository: Repository; readonly tag: string };

/** Forgets everything; for the memory twin, which has nothing to rebuild. */
export const noNameLog: NameLog = { append: async () => {} };
