import { type Clock, delay } from '../../lib/clock.ts';
import { isCode } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import { TaskGroup } from '../../lib/task-group.ts';
import { noMetrics } from '../../telemetry/metrics.ts';
import { indexDatabase } from '../chosen-index-database.ts';
import { type Files, systemFiles } from '../files/files.ts';
import type { DatabaseSums } from '../index-database.ts';
import { BlobIndex } from '../metadata/blob-index.ts';
import { createKeyValueMetadataStore } from '../metadata/key-value-metadata-store.ts';
import { LeaseTable } from '../metadata/lease-table.ts';
import { noNameLog } from '../metadata/name-log.ts';
import { reconcileEdges, walkNames } from '../metadata/reconcile.ts';
import type { Store } from '../store.ts';
import { createStoreMetrics, type StoreMetrics } from '../store-metrics.ts';
import { type AdoptDeps, adoptOrphan } from './adopt.ts';
import { forEachConcurrently } from './concurrently.ts';
import { DiskBlobStore } from './disk-blob-store.ts';
import { createLayout, type Layout } from './layout.ts';
import { takeLockFile } from './lock-file.ts';
import { createMetadataReserve, type MetadataReserve } from './metadata-reserve.ts';
import { type LoggedNames, NameLogFile, readNameLog } from './name-log-file.ts';
import { markDamage, type OpenedIndex, openIndex } from './open-index.ts';
import { createQuarantine } from './quarantine.ts';
import { restoreNames } from './restore-names.ts';
import { type Orphan, scanFiles } from './scan.ts';

export interface StoreDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics?: StoreMetrics;
  /** The system's file operations unless a test puts others in between. */
  readonly files?: Files;
}

export interface StoreOptions {
  readonly dataDir: string;
  /** An ingest nobody wrote to for this long is thrown away. */
  readonly ingestMaxAgeMs: number;
  /** Disk space that blobs leave free. */
  readonly minFreeBytes: number;
  /** How often leases and uses are written down; the collector's grace must be longer. */
  readonly flushIntervalMs: number;
  /** Corrupt blobs kept for a person to look at. */
  readonly quarantineMaxBytes: number;
}

// Hashed before the store opens, at most a fifth of a second's worth: what a crash between rename and record leaves is mostly
// this little. After a lost index the rest is hashed while the store is in use.
const adoptFirst = { bytes: 32 * 1024 * 1024, files: 100 };
// Small files are a few waits for the thread pool each; more at once would take threads from requests.
const concurrentAdoptions = 2;

/**
 * Opens the store in a data directory: takes the lock, opens the index (repaired or rebuilt if need be), brings files and records
 * together. @throws STORE_LOCKED, STORE_UNWRITABLE, STORE_FULL, STORE_FORMAT_UNSUPPORTED
 */
export async function openStore(deps: StoreDeps, options: StoreOptions): Promise<Store> {
  const files = deps.files ?? systemFiles;
  const layout = createLayout(options.dataDir);
  for (const path of [layout.dataDir, layout.blobs, layout.ingest, layout.quarantine, layout.trash]) {
    await files.makeDirectory(path);
  }
  await makeShards(files, layout);
  const lock = await takeLockFile(layout.lock);
  const tasks = new TaskGroup((error) => deps.logger.error({ error }, 'a background task of the store failed'));
  const reserve = createMetadataReserve(files, layout.reserve, layout.dataDir);
  const parts: Parts = {
    ...deps,
    metrics: deps.metrics ?? createStoreMetrics(noMetrics),
    files,
    layout,
    reserve,
    sums: indexDatabase.createSums(files, layout.metadata, layout.sums),
    tasks,
    release: () => lock.release(),
  };
  try {
    return await openTrusted(parts, options);
  } catch (error) {
    await tasks.stop();
    await lock.release();
    throw error;
  }
}

/** At once in a new store: one by one they would cost the first pull two flushes for each of its blobs. */
async function makeShards(files: Files, { shards }: Layout): Promise<void> {
  if (!(await files.makeDirectory(shards.directory))) return;
  for (const path of shards.paths) await files.makeDirectory(path);
  await files.syncDirectory(shards.directory);
}

interface Parts extends StoreDeps {
  readonly metrics: StoreMetrics;
  readonly files: Files;
  readonly layout: Layout;
  readonly reserve: MetadataReserve;
  readonly sums: DatabaseSums;
  readonly tasks: TaskGroup;
  readonly release: () => Promise<void>;
}

/** Damage may show only while the index is walked; then it is repaired, and if that does not help replaced. */
async function openTrusted(parts: Parts, options: StoreOptions): Promise<Store> {
  const { files, layout, logger, reserve, sums, tasks } = parts;
  const onDamage = () => tasks.run(() => markDamage(files, layout));
  for (const distrust of [undefined, 'repair', 'discard'] as const) {
    const index = await openIndex(
      { files, layout, logger, reserve, database: indexDatabase, sums, onDamage },
      distrust,
    );
    try {
      return await assemble(parts, options, index);
    } catch (error) {
      await index.keyValue.close();
      if (!isCode(error, 'STORE_CORRUPT') || distrust === 'discard') throw error;
      logger.error({ error }, 'the index turned out to be damaged at start');
    }
  }
  throw new Error('unreachable: the last attempt returns or throws');
}

async function assemble(parts: Parts, options: StoreOptions, opened: OpenedIndex): Promise<Store> {
  const { clock, logger, metrics, files, layout, reserve, tasks } = parts;
  const { keyValue, state } = opened;
  const index = new BlobIndex(keyValue);
  const quarantine = createQuarantine(
    { files, clock, onTaken: () => metrics.quarantined.add(1) },
    { directory: layout.quarantine, maxBytes: options.quarantineMaxBytes },
  );
  const held = await scanFiles(
    { files, layout, index, quarantine, logger },
    { ingestsBeforeMs: clock.wallMs() - options.ingestMaxAgeMs },
  );
  const blobs = new DiskBlobStore({ clock, logger, metrics, files, layout, index, quarantine }, options, held);
  const logged = await readNameLog(files, layout.names);
  const adoptDeps: AdoptDeps = { files, layout, blobs, keyValue, logger };
  const isIndexLost = state !== 'intact';
  const { first, rest } = splitOrphans(held.orphans, logged);
  const adoptAll = (orphans: readonly Orphan[], signal: AbortSignal) =>
    forEachConcurrently(orphans, concurrentAdoptions, (orphan) =>
      adoptOrphan(adoptDeps, orphan, { isIndexLost }, signal),
    );
  await adoptAll(first, tasks.signal);

  const leases = new LeaseTable(keyValue);
  const unlogged = createKeyValueMetadataStore({ keyValue, leases, names: noNameLog });
  const { restored, isLogCurrent } = await restoreNames(
    { files, layout, keyValue, metadata: unlogged, logger },
    logged,
  );
  if (state === 'repaired' || restored > 0) await reconcileEdges(keyValue);
  await leases.load();
  const names = isLogCurrent
    ? await NameLogFile.open(files, layout.names)
    : await NameLogFile.create(files, layout.names, walkNames(keyValue));
  await reserve.ensure();

  const recovered = Promise.withResolvers<void>();
  tasks.run(async (signal) => {
    try {
      await adoptAll(rest, signal);
    } finally {
      recovered.resolve();
    }
  });
  const upkeep = [
    () => leases.expire(clock.wallMs()),
    () => leases.flush(),
    () => blobs.flushUses(),
    () => names.sync(),
    async () => names.isBloated && names.compact(walkNames(keyValue)),
    () => blobs.purgeIngests(clock.wallMs() - options.ingestMaxAgeMs),
    () => reserve.ensure(),
  ];
  tasks.run(async (signal) => {
    while (true) {
      await delay(clock, options.flushIntervalMs, signal);
      await runAll(upkeep, (error) => logger.warn({ error }, 'upkeep of the store failed; it is tried again'));
    }
  });
  logger.info(
    { blobs: held.blobs, blobBytes: held.blobBytes, ingests: held.ingests.size, orphans: held.orphans.length, state },
    'store is open',
  );

  const closing = [
    () => blobs.close(),
    () => leases.flush(),
    () => blobs.flushUses(),
    () => names.sync(),
    () => names.close(),
    () => keyValue.close(),
    () => parts.sums.save('closed'),
    parts.release,
  ];
  let closed: Promise<void> | undefined;
  return {
    blobs,
    metadata: createKeyValueMetadataStore({ keyValue, leases, names }),
    recovered: recovered.promise,
    [Symbol.asyncDispose]() {
      closed ??= tasks
        .stop()
        .then(() => runAll(closing, (error) => logger.error({ error }, 'closing the store was not clean')));
      return closed;
    },
  };
}

/** Manifests that names depend on come first, then what is small; the rest is hashed while the store is in use. */
function splitOrphans(orphans: readonly Orphan[], logged: LoggedNames): { first: Orphan[]; rest: Orphan[] } {
  const named = new Set([...logged.names.values()].map((entry) => (entry.kind === 'link' ? entry.digest : undefined)));
  const ordered = [...orphans].sort(
    (one, other) => Number(named.has(other.digest)) - Number(named.has(one.digest)) || one.sizeBytes - other.sizeBytes,
  );
  let bytes = 0;
  let unnamed = 0;
  const count = ordered.findIndex(({ digest, sizeBytes }) => {
    if (named.has(digest)) return false;
    bytes += sizeBytes;
    unnamed += 1;
    return bytes > adoptFirst.bytes || unnamed > adoptFirst.files;
  });
  const at = count === -1 ? ordered.length : count;
  return { first: ordered.slice(0, at), rest: ordered.slice(at) };
}

async function runAll(steps: readonly (() => Promise<unknown>)[], onError: (error: unknown) => void): Promise<void> {
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      onError(error);
    }
  }
}
