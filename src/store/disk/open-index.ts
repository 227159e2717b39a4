import { randomUUID } from 'node:crypto';
import { isCode } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { Files } from '../files/files.ts';
import type { DatabaseSums, IndexDatabase } from '../index-database.ts';
import type { KeyValue } from '../key-value.ts';
import { readFormat, supportedVersion, writeFormat } from './format-file.ts';
import type { Layout } from './layout.ts';
import type { MetadataReserve } from './metadata-reserve.ts';

export interface OpenIndexDeps {
  readonly files: Files;
  readonly layout: Layout;
  readonly logger: Logger;
  readonly reserve: MetadataReserve;
  readonly database: IndexDatabase;
  readonly sums: DatabaseSums;
  readonly onDamage: () => void;
}

/** intact; repaired = parts may be missing; lost = new and empty, to be rebuilt from the files (nothing to do if there are none). */
export interface OpenedIndex {
  readonly keyValue: KeyValue;
  readonly state: 'intact' | 'repaired' | 'lost';
}

const epochKey = '!epoch';

/**
 * Opens the index that belongs to this data directory. One that is damaged is repaired; one that cannot be, is missing, or does
 * not carry the directory's epoch is put aside for a new one. `distrust` says how an earlier attempt failed.
 */
export async function openIndex(deps: OpenIndexDeps, distrust?: 'repair' | 'discard'): Promise<OpenedIndex> {
  const { files, layout, logger } = deps;
  const format = await readFormat(files, layout.format);
  const isMarked = (await files.stat(layout.damageMark)) !== undefined;
  if (distrust === 'discard') return replace(deps, format?.epoch);
  if (format !== undefined && !(await deps.database.isThere(files, layout.metadata))) {
    logger.error({ path: layout.metadata }, 'the index is gone; building it again from the blob files');
    return replace(deps, format.epoch);
  }
  if (!(await deps.sums.check())) {
    logger.error({ path: layout.metadata }, 'a file of the index has changed on the disk; building it again');
    return replace(deps, format?.epoch);
  }
  let state: OpenedIndex['state'] = 'intact';
  let keyValue: KeyValue | undefined;
  if (distrust === undefined && !isMarked) keyValue = await tryOpen(deps, format === undefined);
  if (keyValue === undefined) {
    logger.error({ path: layout.metadata }, 'the index is damaged; repairing it');
    state = 'repaired';
    await tryRepair(deps);
    keyValue = await tryOpen(deps, false);
  }
  if (keyValue === undefined) return replace(deps, format?.epoch);
  const epoch = await tryFind(keyValue);
  if (format !== undefined && epoch !== format.epoch) {
    logger.error({ path: layout.metadata }, 'the index is not the one of this directory; building it again');
    await keyValue.close();
    return replace(deps, format.epoch);
  }
  if (format === undefined) {
    await stamp(deps, keyValue, epoch ?? randomUUID());
    // Neither a format nor an epoch: a new directory, or one that lost both; the scan will tell by the files it finds.
    if (epoch === undefined) state = 'lost';
  }
  await files.remove(layout.damageMark);
  // Opening has cleared away what no table of contents names; numbers of such files may be given out again.
  await deps.sums.save('open');
  return { keyValue, state };
}

/** Leaves word for the next start that the index has to be repaired. */
export async function markDamage(files: Files, layout: Layout): Promise<void> {
  await files.close(await files.open(layout.damageMark, 'create'));
}

async function replace(deps: OpenIndexDeps, epoch: string = randomUUID()): Promise<OpenedIndex> {
  const { files, layout } = deps;
  const aside = `${layout.metadata}.broken`;
  await files.remove(aside);
  if ((await files.stat(layout.metadata)) !== undefined) await files.rename(layout.metadata, aside);
  const keyValue = await open(deps, true);
  await stamp(deps, keyValue, epoch);
  await files.remove(layout.damageMark);
  await deps.sums.save('open');
  return { keyValue, state: 'lost' };
}

/** The epoch goes into the index first: a format file without it would condemn the index. */
async function stamp(deps: OpenIndexDeps, keyValue: KeyValue, epoch: string): Promise<void> {
  await keyValue.batch([{ type: 'put', key: epochKey, value: epoch }], { isDurable: true });
  await writeFormat(deps.files, deps.layout.format, { version: supportedVersion, epoch });
}

async function tryOpen(deps: OpenIndexDeps, createIfMissing: boolean): Promise<KeyValue | undefined> {
  try {
    return await open(deps, createIfMissing);
  } catch (error) {
    if (isCode(error, 'STORE_CORRUPT')) return undefined;
    throw error;
  }
}

async function tryRepair({ database, layout, logger }: OpenIndexDeps): Promise<void> {
  try {
    await database.repair(layout.metadata);
  } catch (error) {
    if (!isCode(error, 'STORE_CORRUPT')) throw error;
    logger.error({ error }, 'the index cannot be repaired');
  }
}

async function tryFind(keyValue: KeyValue): Promise<string | undefined> {
  try {
    return await keyValue.find(epochKey);
  } catch (error) {
    if (isCode(error, 'STORE_CORRUPT')) return undefined;
    throw error;
  }
}

function open(deps: OpenIndexDeps, createIfMissing: boolean): Promise<KeyValue> {
  return deps.database.open({
    directory: deps.layout.metadata,
    createIfMissing,
    onDamage: deps.onDamage,
    makeRoom: () => deps.reserve.release(),
  });
}
