import type { Logger } from '../../lib/logger.ts';
import type { Files } from '../files/files.ts';
import type { KeyValue } from '../key-value.ts';
import { keys } from '../metadata/keys.ts';
import type { NameEntry } from '../metadata/name-log.ts';
import { walkNames } from '../metadata/reconcile.ts';
import type { MetadataStore } from '../metadata-store.ts';
import { readStoredManifest } from './adopt.ts';
import { forEachConcurrently } from './concurrently.ts';
import type { Layout } from './layout.ts';
import type { LoggedNames } from './name-log-file.ts';

export interface RestoreDeps {
  readonly files: Files;
  readonly layout: Layout;
  readonly keyValue: KeyValue;
  /** Over the same index, and logging nothing: the log is written anew afterwards. */
  readonly metadata: MetadataStore;
  readonly logger: Logger;
}

export interface RestoreResult {
  /** Names the index had lost and has again. */
  readonly restored: number;
  /** Whether log and index said the same from the start. */
  readonly isLogCurrent: boolean;
}

// Their batches go down in one flush.
const concurrentRestores = 32;

/**
 * Brings the index and the name log together. LevelDB drops damaged log records without a word; a name is logged after its
 * batch and its removal before, so one that is only in the log was lost and comes back. Names only in the index are kept.
 */
export async function restoreNames(deps: RestoreDeps, logged: LoggedNames): Promise<RestoreResult> {
  const missing = new Map(logged.names);
  let isLogCurrent = logged.isWhole;
  for await (const entry of walkNames(deps.keyValue)) {
    const key =
      entry.kind === 'link' ? keys.manifest(entry.repository, entry.digest) : keys.tag(entry.repository, tagOf(entry));
    const log = missing.get(key);
    if (log === undefined) isLogCurrent = false;
    else if (!isNewer(log, entry)) missing.delete(key);
    if (log !== undefined && !saysTheSame(log, entry)) isLogCurrent = false;
  }
  let restored = 0;
  if (missing.size > 0) isLogCurrent = false;
  await forEachConcurrently([...missing.values()], concurrentRestores, async (entry) => {
    if (await restore(deps, entry)) restored += 1;
  });
  if (restored > 0) deps.logger.warn({ restored }, 'names the index had lost were restored from the name log');
  return { restored, isLogCurrent };
}

async function restore({ files, layout, metadata }: RestoreDeps, entry: NameEntry): Promise<boolean> {
  if (entry.kind === 'tag') {
    await metadata.putTag(entry.repository, entry.tag, entry.record);
    return true;
  }
  if (entry.kind === 'untag') return false;
  const manifest = await readStoredManifest(files, layout, entry.digest, entry);
  // Without its bytes a manifest cannot be described; it will be fetched again when somebody asks.
  if (manifest === undefined) return false;
  await metadata.putManifest(entry.repository, manifest);
  return true;
}

function isNewer(log: NameEntry, held: NameEntry): boolean {
  if (log.kind !== 'tag' || held.kind !== 'tag' || log.record.digest === held.record.digest) return false;
  return log.record.confirmedAtMs > held.record.confirmedAtMs;
}

function saysTheSame(log: NameEntry, held: NameEntry): boolean {
  if (log.kind === 'tag' && held.kind === 'tag') return log.record.digest === held.record.digest;
  return log.kind === 'link' && held.kind === 'link' && log.provenance === held.provenance;
}

function tagOf(entry: NameEntry): string {
  return entry.kind === 'link' ? '' : entry.tag;
}
