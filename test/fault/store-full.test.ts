import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { isCode } from '../../src/lib/errors.ts';
import { openLevelKeyValue } from '../../src/store/level/level-key-value.ts';
import { readAll, writeAll, writePiece } from '../support/blob-store-suite.ts';
import { createDiskHarness } from '../support/disk-harness.ts';
import { expectConsistent } from '../support/store-check.ts';
import {
  collect,
  type SampleBlob,
  type SampleManifest,
  sampleBlob,
  sampleManifest,
  tagOf,
} from '../support/store-fixtures.ts';

const MiB = 1024 * 1024;
const repository = { namespace: 'docker.io', name: 'library/app' };

/** A store on a file system of its own, small enough to fill; undefined where this process may not mount one. */
async function createSmallDisk() {
  const harness = await createDiskHarness();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', harness.dataDir], { stdio: 'pipe' });
  } catch {
    await harness.dispose();
    return undefined;
  }
  const filler = join(harness.dataDir, 'filler');
  return {
    ...harness,
    /** Takes every free byte, as another program on the node would. */
    async fill() {
      const file = await open(filler, 'a');
      const block = Buffer.alloc(64 * 1024, 1);
      try {
        for (let size = block.length; size >= 1; ) {
          try {
            await file.write(block, 0, size);
          } catch (error) {
            if (!isCode(error, 'ENOSPC')) throw error;
            size = Math.floor(size / 2);
          }
        }
      } finally {
        await file.close();
      }
    },
    empty: () => rm(filler, { force: true }),
    async dispose() {
      execFileSync('umount', [harness.dataDir], { stdio: 'pipe' });
      await harness.dispose();
    },
  };
}

it('loses nothing it acknowledged when the disk fills up, and goes on when there is room', async (context) => {
  const disk = await createSmallDisk();
  if (disk === undefined) {
    context.skip('NOT TESTED: a full disk; this process may not mount a tmpfs');
    return;
  }
  let store = await disk.open();
  try {
    const tags = new Map<string, SampleManifest>();
    const bigTags = new Map<string, SampleManifest>();
    const blobs: SampleBlob[] = [];
    const blob = sampleBlob(3 * MiB);
    const putSome = async (name: string, count: number) => {
      for (let index = 0; index < count; index += 1) {
        const manifest = sampleManifest([sampleBlob(10), sampleBlob(20)]);
        await store.blobs.writeBlob(manifest.digest, manifest.bytes);
        blobs.push(manifest);
        await store.metadata.putManifest(repository, manifest.record);
        await store.metadata.putTag(repository, `${name}-${index}`, tagOf(manifest));
        tags.set(`${name}-${index}`, manifest);
      }
    };
    const putBigTag = async (tag: string) => {
      const manifest = sampleManifest([sampleBlob(5)]);
      const record = { ...tagOf(manifest), mediaType: 'x'.repeat(20_000) };
      const outcome = await refused(() => store.metadata.putTag(repository, tag, record));
      if (outcome === 'done') bigTags.set(tag, manifest);
      return outcome;
    };
    await putSome('before', 20);
    const ingest = await store.blobs.openIngest(blob.digest, blob.bytes.length);
    await writePiece(ingest, blob, 0);

    for (let round = 0; round < 3; round += 1) {
      await disk.fill();
      await expect(store.blobs.openIngest(sampleBlob(1).digest, 1)).rejects.toMatchObject({ code: 'STORE_FULL' });
      const refusals = [
        await refused(() => writeAll(ingest, blob)),
        await refused(() => store.blobs.writeBlob(sampleManifest([]).digest, sampleManifest([]).bytes)),
        ...(await Promise.all(Array.from({ length: 30 }, (_, index) => putBigTag(`full-${round}-${index}`)))),
      ];
      // The index gives up its reserve at the first refusal, so some of what follows finds room: that must last as well.
      expect(refusals).toContain('STORE_FULL');
      expect(refusals.filter((refusal) => refusal !== 'STORE_FULL' && refusal !== 'done')).toEqual([]);
      for (const [tag, manifest] of tags) {
        expect((await store.metadata.findTag(repository, tag))?.digest, tag).toBe(manifest.digest);
      }
      expect((await readAll(store.blobs, blobs[0] ?? blob)).equals(blobs[0]?.bytes ?? blob.bytes)).toBe(true);
      await disk.empty();
      await putSome(`after-${round}`, 5);
    }

    await writeAll(ingest, blob);
    await disk.fill();
    const early = await refused(() => ingest.commit(blob.digest));
    if (early !== 'done') expect(early).toBe('STORE_FULL');
    await disk.empty();
    if (early !== 'done') await ingest.commit(blob.digest);
    blobs.push(blob);

    for (let round = 0; round < 2; round += 1) {
      for (const [tag, manifest] of tags) {
        expect((await store.metadata.findTag(repository, tag))?.digest, `${tag} in round ${round}`).toBe(
          manifest.digest,
        );
        expect(await store.metadata.findManifest(repository, manifest.digest)).toBeDefined();
      }
      for (const [tag, manifest] of bigTags) {
        expect((await store.metadata.findTag(repository, tag))?.digest, tag).toBe(manifest.digest);
      }
      for (const one of blobs) expect((await readAll(store.blobs, one)).equals(one.bytes)).toBe(true);
      await expectConsistent(
        store,
        disk.dataDir,
        blobs.map(({ digest }) => digest),
      );
      await store[Symbol.asyncDispose]();
      store = await disk.open();
    }
  } finally {
    await store[Symbol.asyncDispose]();
    await disk.dispose();
  }
});

it('does not lose a batch of the index that follows one the disk had no room for', async (context) => {
  const disk = await createSmallDisk();
  if (disk === undefined) {
    context.skip('NOT TESTED: a full disk under the index; this process may not mount a tmpfs');
    return;
  }
  const options = { directory: join(disk.dataDir, 'index'), onDamage: () => {} };
  let hasRoom = true;
  const level = await openLevelKeyValue({ ...options, createIfMissing: true, makeRoom: async () => hasRoom });
  const put = (key: string) =>
    level.batch([{ type: 'put', key, value: randomBytes(10_000).toString('hex') }], { isDurable: true });
  try {
    await put('before');
    await disk.fill();
    hasRoom = false;
    const full = await Promise.allSettled(Array.from({ length: 10 }, (_, index) => put(`full-${index}`)));
    expect(full.map(({ status }) => status)).toEqual(full.map(() => 'rejected'));
    await expect(put('still-full')).rejects.toMatchObject({ code: 'STORE_FULL' });
    expect(await level.find('before'), 'what is there can be read').toBeDefined();
    await disk.empty();
    hasRoom = true;
    const reads = Promise.all(Array.from({ length: 50 }, () => level.find('before')));
    const walk = collect(level.walk({ from: '', to: '~' }));
    await Promise.all([put('after-1'), put('after-2')]);
    expect((await reads).every((value) => value !== undefined)).toBe(true);
    expect(await walk).not.toHaveLength(0);
    await level.close();
    const again = await openLevelKeyValue({ ...options, createIfMissing: false, makeRoom: async () => true });
    const names = (await collect(again.walk({ from: '', to: '~' }))).map(([key]) => key);
    expect(names).toEqual(expect.arrayContaining(['after-1', 'after-2', 'before']));
    await again.close();
  } finally {
    await level.close();
    await disk.dispose();
  }
});

it('keeps a margin free when told to', async () => {
  const harness = await createDiskHarness();
  const store = await harness.open({ minFreeBytes: Number.MAX_SAFE_INTEGER / 2 });
  const blob = sampleBlob(10);
  try {
    await expect(store.blobs.openIngest(blob.digest, 10)).rejects.toMatchObject({
      code: 'STORE_FULL',
      details: { path: harness.dataDir },
    });
    await expect(store.blobs.writeBlob(blob.digest, blob.bytes)).rejects.toMatchObject({ code: 'STORE_FULL' });
  } finally {
    await store[Symbol.asyncDispose]();
    await harness.dispose();
  }
});

async function refused(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return 'done';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}
