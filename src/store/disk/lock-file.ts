import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { isCode } from '../../lib/errors.ts';
import { StoreError } from '../errors.ts';
import { isAbsence } from '../files/files.ts';
import { decodeRecord, encodeRecord, type Fields } from '../metadata/records.ts';

/**
 * Keeps a second process out of the data directory, and a second open within this process too: a failed second open of LevelDB
 * in one process drops LevelDB's own lock, so it must never be tried. The owner is named by pid and start time, since a pid
 * alone may belong to somebody else by now. Two processes that take over the same stale lock are told apart by LevelDB's lock.
 */
export interface LockFile {
  release(): Promise<void>;
}

interface LockOwner {
  readonly pid: number;
  /** Field 22 of /proc/<pid>/stat, or empty where there is no /proc. */
  readonly startTime: string;
  readonly token: string;
}

// A lock file is written right after it is created; one without an owner that is older than this was left by a crash in between.
const unwrittenGraceMs = 1000;
const oldGuardMs = 10_000;
// A takeover by a rival is over within a few of these.
const rivalPauseMs = 10;

/** Takes the lock. @throws STORE_LOCKED, STORE_UNWRITABLE */
export async function takeLockFile(path: string): Promise<LockFile> {
  const owner: LockOwner = {
    pid: process.pid,
    startTime: (await findStartTime(process.pid)) ?? '',
    token: randomUUID(),
  };
  // Each round either takes the lock, finds its live owner, or removes one stale lock; rivals can add a few rounds.
  for (let round = 0; round < 20; round += 1) {
    if (await create(path, owner)) return { release: () => release(path, owner) };
    const found = await readOwner(path);
    if (found !== undefined && (await isAlive(found))) throw locked(path, found.pid);
    await removeStale(path, found);
    if (round > 2) await setTimeout(rivalPauseMs);
  }
  throw locked(path, undefined);
}

async function create(path: string, owner: LockOwner): Promise<boolean> {
  try {
    await fs.writeFile(path, encodeRecord(owner), { flag: 'wx', mode: 0o644 });
    return true;
  } catch (cause) {
    if (errnoOf(cause) === 'EEXIST') return false;
    await fs.rm(path, { force: true }).catch(() => {});
    throw new StoreError('STORE_UNWRITABLE', 'the data directory cannot be written', { cause, details: { path } });
  }
}

/** Returns the owner, or undefined when the file is gone or stale. @throws STORE_LOCKED while it is being written */
async function readOwner(path: string): Promise<LockOwner | undefined> {
  try {
    return decodeRecord(path, await fs.readFile(path, 'utf8'), readFields);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    if (!isCode(error, 'STORE_CORRUPT')) throw error;
  }
  const stat = await fs.stat(path).catch(() => undefined);
  if (stat !== undefined && Date.now() - stat.mtimeMs < unwrittenGraceMs) throw locked(path, undefined);
  return undefined;
}

function readFields(fields: Fields): LockOwner {
  return { pid: fields.number('pid'), startTime: fields.text('startTime'), token: fields.text('token') };
}

/**
 * Removes a lock whose owner is gone. Only one rival at a time may: otherwise one that read the stale lock a moment ago would
 * remove the lock that another has just taken.
 */
async function removeStale(path: string, stale: LockOwner | undefined): Promise<void> {
  const guard = `${path}.takeover`;
  try {
    await fs.mkdir(guard);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    await removeOldGuard(guard);
    return;
  }
  try {
    if ((await fs.stat(path).catch(() => undefined)) === undefined) return;
    const found = await readOwner(path);
    // As long as the stale file stands nobody can create another in its place.
    if (found?.token === stale?.token) await fs.rm(path, { force: true });
  } finally {
    await fs.rmdir(guard);
  }
}

/** A rival that died in the middle of a takeover leaves its guard; a takeover takes milliseconds. */
async function removeOldGuard(guard: string): Promise<void> {
  const stat = await fs.stat(guard).catch(() => undefined);
  if (stat !== undefined && Date.now() - stat.mtimeMs > oldGuardMs) await fs.rmdir(guard).catch(() => {});
}

async function release(path: string, owner: LockOwner): Promise<void> {
  const found = await readOwner(path);
  if (found?.token === owner.token) await fs.rm(path, { force: true });
}

async function isAlive(owner: LockOwner): Promise<boolean> {
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    // EPERM: it lives and belongs to another user.
    if (errnoOf(error) !== 'EPERM') return false;
  }
  const startTime = await findStartTime(owner.pid);
  return startTime === undefined || owner.startTime === '' || startTime === owner.startTime;
}

async function findStartTime(pid: number): Promise<string | undefined> {
  try {
    const stat = await fs.readFile(`/proc/${pid}/stat`, 'utf8');
    // proc(5): the command in field 2 may hold spaces and brackets, so count from the last bracket.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

function locked(path: string, pid: number | undefined): StoreError {
  return new StoreError('STORE_LOCKED', 'another process uses the data directory', { details: { path, pid } });
}

function errnoOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
