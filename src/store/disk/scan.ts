import type { Logger } from '../../lib/logger.ts';
import { type Digest, type DigestAlgorithm, findDigest } from '../../oci/digest.ts';
import type { BlobRecord } from '../blob-store.ts';
import type { Files } from '../files/files.ts';
import type { BlobIndex } from '../metadata/blob-index.ts';
import type { Held } from './disk-blob-store.ts';
import { dataName, journalName } from './disk-ingest.ts';
import { digestOfFileName, fileName, type Layout, onePieceSuffix, recordSuffix } from './layout.ts';
import type { Quarantine } from './quarantine.ts';

export interface ScanDeps {
  readonly files: Files;
  readonly layout: Layout;
  readonly index: BlobIndex;
  readonly quarantine: Quarantine;
  readonly logger: Logger;
}

/** A file in a blob's place that nothing was recorded about. */
export interface Orphan {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export interface ScanResult extends Held {
  readonly orphans: readonly Orphan[];
}

const algorithms: readonly DigestAlgorithm[] = ['sha256', 'sha512'];

/**
 * Brings files and records together at start, by names and sizes alone: finishes removals that were cut short, drops records
 * without a file, puts aside files of a wrong length, reports files without a record, and throws away old ingests.
 */
export async function scanFiles(deps: ScanDeps, options: { ingestsBeforeMs: number }): Promise<ScanResult> {
  const { files, layout, index, quarantine, logger } = deps;
  await finishRemovals(deps);
  const records = new Map<Digest, BlobRecord>();
  for await (const record of index.walk()) records.set(record.digest, record);
  const orphans: Orphan[] = [];
  let blobs = 0;
  let blobBytes = 0;
  for await (const file of walkBlobFiles(deps)) {
    const record = records.get(file.digest);
    if (record === undefined) {
      orphans.push(file);
    } else if (record.sizeBytes === file.sizeBytes) {
      records.delete(file.digest);
      blobs += 1;
      blobBytes += file.sizeBytes;
    } else {
      await quarantine.take(layout.blob(file.digest), fileName(file.digest));
    }
  }
  for (const record of records.values()) await index.remove(record.digest);
  if (records.size > 0) logger.warn({ count: records.size }, 'records of blobs whose file is gone were dropped');
  const ingests = await scanIngests(deps, options.ingestsBeforeMs);
  // A quarantined or trashed name must not come back after a power cut, but nothing waits for that here.
  await files.syncDirectory(layout.blobs);
  return { blobs, blobBytes, ingests, orphans };
}

async function finishRemovals({ files, layout, index }: ScanDeps): Promise<void> {
  for await (const { digest, generation } of index.walkTombstones()) {
    // With a record the blob came back after the removal, and the file is the new one's.
    if ((await index.find(digest)) === undefined) await files.remove(layout.blob(digest));
    await index.removeTombstone(digest, generation);
  }
  for (const name of await files.list(layout.trash)) await files.remove(`${layout.trash}/${name}`);
}

async function* walkBlobFiles({ files, layout, logger }: ScanDeps): AsyncIterable<Orphan> {
  for (const algorithm of algorithms) {
    for (const shard of await files.list(`${layout.blobs}/${algorithm}`)) {
      for (const { name, sizeBytes } of await files.listFiles(`${layout.blobs}/${algorithm}/${shard}`)) {
        const digest = findDigest(`${algorithm}:${name}`);
        if (digest !== undefined && name.startsWith(shard)) yield { digest, sizeBytes };
        else logger.warn({ path: `${algorithm}/${shard}/${name}` }, 'file among the blobs is not a blob; left alone');
      }
    }
  }
}

async function scanIngests(deps: ScanDeps, beforeMs: number): Promise<Map<Digest, number>> {
  const { files, layout } = deps;
  const ingests = new Map<Digest, number>();
  for (const name of await files.list(layout.ingest)) {
    const path = `${layout.ingest}/${name}`;
    const left = await findLeft(files, path, name);
    if (left === undefined || left.modifiedAtMs < beforeMs) await files.remove(path);
    else ingests.set(left.digest, left.bytes);
  }
  return ingests;
}

async function findLeft(files: Files, path: string, name: string) {
  const suffix = [onePieceSuffix, `${onePieceSuffix}${recordSuffix}`].find((known) => name.endsWith(known));
  const digest = digestOfFileName(suffix === undefined ? name : name.slice(0, -suffix.length));
  if (digest === undefined) return undefined;
  const [dataPath, journalPath] = pathsOf(path, suffix);
  const data = await files.stat(dataPath);
  const journal = data === undefined ? undefined : await files.stat(journalPath);
  if (data === undefined || journal === undefined) return undefined;
  return { digest, bytes: Math.min(data.allocatedBytes, data.sizeBytes), modifiedAtMs: journal.modifiedAtMs };
}

/** Returns where the bytes and the journal of an ingest are, given one of its paths. */
function pathsOf(path: string, suffix: string | undefined): readonly [string, string] {
  if (suffix === undefined) return [`${path}/${dataName}`, `${path}/${journalName}`];
  const dataPath = suffix === onePieceSuffix ? path : path.slice(0, -recordSuffix.length);
  return [dataPath, `${dataPath}${recordSuffix}`];
}
