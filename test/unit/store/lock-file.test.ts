import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { takeLockFile } from '../../../src/store/disk/lock-file.ts';
import { createDiskHarness } from '../../support/disk-harness.ts';

describe('takeLockFile', () => {
  let directory: string;
  let path: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'shoal-lock-'));
    path = join(directory, 'lock');
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('lets one in at a time, and the next after the release', async () => {
    const lock = await takeLockFile(path);
    await expect(takeLockFile(path)).rejects.toMatchObject({
      code: 'STORE_LOCKED',
      details: { path, pid: process.pid },
    });
    await lock.release();
    await (await takeLockFile(path)).release();
    expect(await readdir(directory)).toEqual([]);
  });

  it('takes over from a process that is gone', async () => {
    const child = spawn('true');
    await once(child, 'exit');
    await writeFile(path, JSON.stringify({ pid: child.pid, startTime: '1', token: 'x' }));
    await (await takeLockFile(path)).release();
  });

  it('takes over when the pid belongs to a process that started at another time', async () => {
    await writeFile(path, JSON.stringify({ pid: process.pid, startTime: '1', token: 'x' }));
    await (await takeLockFile(path)).release();
  });

  it('believes in a living process of which no start time was known', async () => {
    await writeFile(path, JSON.stringify({ pid: 1, startTime: '', token: 'x' }));
    await expect(takeLockFile(path)).rejects.toMatchObject({ code: 'STORE_LOCKED', details: { pid: 1 } });
  });

  it.each(['', '{', '[]', '{"pid":"1"}'])('takes over a lock that reads %j once it is old', async (text) => {
    await writeFile(path, text);
    await expect(takeLockFile(path)).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    await utimes(path, new Date(0), new Date(0));
    await (await takeLockFile(path)).release();
  });

  it('lets one of many in that find the same stale lock', async () => {
    await writeFile(path, JSON.stringify({ pid: process.pid, startTime: '1', token: 'x' }));
    const taken = await Promise.allSettled(Array.from({ length: 8 }, () => takeLockFile(path)));
    const locks = taken.filter((result) => result.status === 'fulfilled');
    expect(locks).toHaveLength(1);
    await locks[0]?.value.release();
  });

  it('does not take a lock away that somebody else holds by now', async () => {
    const lock = await takeLockFile(path);
    await writeFile(path, JSON.stringify({ pid: process.pid, startTime: '1', token: 'other' }));
    await lock.release();
    expect(await readFile(path, 'utf8')).toContain('other');
  });

  it('says that a directory cannot be written', async () => {
    await expect(takeLockFile(join(directory, 'absent', 'lock'))).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' });
  });
});

describe('openStore', () => {
  it('refuses a directory that is open, and opens it again once it is closed', async () => {
    const harness = await createDiskHarness();
    const store = await harness.open();
    await expect(harness.open()).rejects.toMatchObject({ code: 'STORE_LOCKED', details: { pid: process.pid } });
    await store.metadata.putTag({ namespace: 'a', name: 'b' }, 'c', {
      digest: `sha256:${'0'.repeat(64)}` as never,
      mediaType: 'm',
      sizeBytes: 1,
      confirmedAtMs: 1,
    });
    await store[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    const again = await harness.open();
    expect(await again.metadata.findTag({ namespace: 'a', name: 'b' }, 'c')).toBeDefined();
    await again[Symbol.asyncDispose]();
    await harness.dispose();
  });
});
