import { join } from 'node:path';
import { type Digest, digestAlgorithm, digestHex, findDigest } from '../../oci/digest.ts';

/** Where everything is below the data directory. */
export interface Layout {
  readonly dataDir: string;
  readonly blobs: string;
  readonly ingest: string;
  readonly quarantine: string;
  readonly trash: string;
  readonly metadata: string;
  /** Says at the next start that the index gave a damaged block in this life. */
  readonly damageMark: string;
  /** Check sums of the index's files. */
  readonly sums: string;
  /** Room that is given up when the disk is full. */
  readonly reserve: string;
  readonly lock: string;
  readonly format: string;
  readonly names: string;
  shard(digest: Digest): string;
  /** The shards of the digests that images have. */
  readonly shards: { readonly directory: string; readonly paths: readonly string[] };
  blob(digest: Digest): string;
  /** The directory of an unfinished blob of many pieces. */
  ingestOf(digest: Digest): string;
  /** The file of an unfinished blob of one piece, and of the record of that piece. */
  onePieceOf(digest: Digest): { readonly path: string; readonly recordPath: string };
}

export function createLayout(dataDir: string): Layout {
  const below = (name: string) => join(dataDir, name);
  const shard = (digest: Digest) => join(dataDir, 'blobs', digestAlgorithm(digest), digestHex(digest).slice(0, 2));
  return {
    dataDir,
    blobs: below('blobs'),
    ingest: below('ingest'),
    quarantine: below('quarantine'),
    trash: below('trash'),
    metadata: below('metadata'),
    damageMark: below('metadata.damaged'),
    sums: below('metadata.sums'),
    reserve: below('metadata.reserve'),
    lock: below('lock'),
    format: below('format.json'),
    names: below('names.log'),
    shard,
    shards: {
      directory: below('blobs/sha256'),
      paths: Array.from({ length: 256 }, (_, at) => below(`blobs/sha256/${at.toString(16).padStart(2, '0')}`)),
    },
    blob: (digest) => join(shard(digest), digestHex(digest)),
    ingestOf: (digest) => join(dataDir, 'ingest', fileName(digest)),
    onePieceOf(digest) {
      const path = join(dataDir, 'ingest', `${fileName(digest)}${onePieceSuffix}`);
      return { path, recordPath: `${path}${recordSuffix}` };
    },
  };
}

export const onePieceSuffix = '.piece';
export const recordSuffix = '.signed';

/** Returns a digest as a file name: `sha256-<hex>`. */
export function fileName(digest: Digest): string {
  return `${digestAlgorithm(digest)}-${digestHex(digest)}`;
}

/** Reads a digest out of a file name, or returns undefined for a stranger's. */
export function digestOfFileName(name: string): Digest | undefined {
  return findDigest(name.replace('-', ':'));
}
