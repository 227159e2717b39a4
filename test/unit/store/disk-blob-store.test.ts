import { readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { digestHex, digestOf } from '../../../src/oci/digest.ts';
import { systemFiles } from '../../../src/store/files/files.ts';
import type { Store } from '../../../src/store/store.ts';
import { readAll, writeAll, writePiece } from '../../support/blob-store-suite.ts';
import { CrashingFiles } from '../../support/crashing-files.ts';
import { createDiskHarness, storeOptions } from '../../support/disk-harness.ts';
import { expectConsistent } from '../../support/store-check.ts';
import { sampleBlob } from '../../support/store-fixtures.ts';

describe('the disk store', () => {
  let harness: Awaited<ReturnType<typeof createDiskHarness>>;
  let failpoints: CrashingFiles;
  let store: Store;

  beforeEach(async () => {
    harness = await createDiskHarness();
    failpoints = new CrashingFiles();
    store = await harness.open({}, failpoints.files());
  });

  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await harness.dispose();
  });

  const reopen = async () => {
    await store[Symbol.asyncDispose]();
    failpoints.heal();
    store = await harness.open({}, failpoints.files());
  };

  it.each(['rename', 'remove'] as const)('finishes a removal that was cut short before its %s', async (step) => {
    const blob = sampleBlob(1000);
    await store.blobs.writeBlob(blob.digest, blob.bytes);
    failpoints.crashAt(0, (operation) => operation === step);
    await expect(store.blobs.removeBlob(blob.digest)).rejects.toThrow('died');
    await reopen();
    expect(await store.blobs.findBlob(blob.digest)).toBeUndefined();
    await expectConsistent(store, harness.dataDir, []);
    expect(await readdir(join(harness.dataDir, 'trash'))).toEqual([]);
  });

  it('counts what ingests that open at the same moment have promised to write', async () => {
    await store[Symbol.asyncDispose]();
    const files = failpoints.files();
    store = await harness.open({}, { ...files, freeBytes: async () => 2_500 });
    const sizes = [1_000, 9_000, 1_000, 1_000, 400];
    const digests = sizes.map((_, at) => digestOf(Buffer.from(`${at}`)));
    const opened = await Promise.allSettled(digests.map((digest, at) => store.blobs.openIngest(digest, sizes[at]!)));
    // One that finds no room does not take it from those that do.
    expect(opened.map(({ status }) => status === 'fulfilled')).toEqual([true, false, true, false, true]);
    await expect(store.blobs.openIngest(digests[3]!, 1_000)).rejects.toMatchObject({ code: 'STORE_FULL' });
    for (const outcome of opened) if (outcome.status === 'fulfilled') await outcome.value.discard();
    await (await store.blobs.openIngest(digests[3]!, 1_000)).discard();
  });

  it('does not take a blob that came back for the one that was removed', async () => {
    const blob = sampleBlob(1000);
    await store.blobs.writeBlob(blob.digest, blob.bytes);
    failpoints.crashAt(0, (operation) => operation === 'rename');
    await expect(store.blobs.removeBlob(blob.digest)).rejects.toThrow('died');
    failpoints.heal();
    await store.blobs.writeBlob(blob.digest, blob.bytes);
    await reopen();
    expect((await readAll(store.blobs, blob)).equals(blob.bytes)).toBe(true);
  });

  it('takes a blob whose record was not written for what it is', async () => {
    const blob = sampleBlob(1000);
    failpoints.crashAt(0, (operation) => operation === 'protect');
    await expect(store.blobs.writeBlob(blob.digest, blob.bytes)).rejects.toThrow('died');
    await reopen();
    expect((await readAll(store.blobs, blob)).equals(blob.bytes)).toBe(true);
    await expectConsistent(store, harness.dataDir, []);
  });

  it.each([0, 1])('lets a commit be tried again after failed flush %i of a directory', async (failing) => {
    const blob = sampleBlob(700_000);
    await store[Symbol.asyncDispose]();
    let flushes = 0;
    const flaky = {
      ...systemFiles,
      syncDirectory: async (path: string) => {
        if (path.includes('sha256') && flushes++ === failing) throw new Error('flush failed');
        await systemFiles.syncDirectory(path);
      },
    };
    store = await harness.open({}, flaky);
    // Somebody tidied up: the shard is made again, and the directory above it flushed first.
    await rmdir(join(harness.dataDir, 'blobs', 'sha256', digestHex(blob.digest).slice(0, 2)));
    const ingest = await store.blobs.openIngest(blob.digest, blob.bytes.length);
    await writeAll(ingest, blob);
    await expect(ingest.commit(blob.digest)).rejects.toThrow('flush failed');
    expect(await store.blobs.findBlob(blob.digest)).toBeUndefined();
    const target = Buffer.alloc(100);
    expect(await ingest.read(target, 0)).toBe(100);
    await ingest.commit(blob.digest);
    await reopen();
    expect((await readAll(store.blobs, blob)).equals(blob.bytes)).toBe(true);
  });

  it('lets readers go on while a commit flushes', async () => {
    const flushing = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    const blob = sampleBlob(700_000);
    await store[Symbol.asyncDispose]();
    const slow = {
      ...systemFiles,
      sync: async (fd: number) => {
        reached.resolve();
        await flushing.promise;
        await systemFiles.sync(fd);
      },
    };
    // Opened by the usual operations first: opening flushes too.
    store = await harness.open();
    await store[Symbol.asyncDispose]();
    store = await harness.open({}, slow);
    const ingest = await store.blobs.openIngest(blob.digest, blob.bytes.length);
    await writeAll(ingest, blob);
    const committed = ingest.commit(blob.digest);
    await reached.promise;
    const target = Buffer.alloc(1000);
    expect(await ingest.read(target, 5000)).toBe(1000);
    expect(target.equals(blob.bytes.subarray(5000, 6000))).toBe(true);
    await expect(ingest.dropPieces([0])).rejects.toMatchObject({ code: 'STORE_INGEST_CLOSED' });
    flushing.resolve();
    await committed;
    await expect(ingest.read(target, 0)).rejects.toMatchObject({ code: 'STORE_INGEST_CLOSED' });
  });

  it('closes what is open when it is disposed of, and keeps its pieces', async () => {
    const blob = sampleBlob(1_500_000);
    const ingest = await store.blobs.openIngest(blob.digest, blob.bytes.length);
    await writePiece(ingest, blob, 1);
    await reopen();
    await expect(writePiece(ingest, blob, 0)).rejects.toMatchObject({ code: 'STORE_INGEST_CLOSED' });
    const again = await store.blobs.openIngest(blob.digest, blob.bytes.length);
    expect([...again.pieces.keys()]).toEqual([1]);
    await again.discard();
    expect(await readdir(join(harness.dataDir, 'ingest'))).toEqual([]);
  });

  describe('with a blob of one piece', () => {
    const listIngests = () => readdir(join(harness.dataDir, 'ingest'));

    it('has no file before the piece is there, and none left when it is done', async () => {
      const [stored, dropped, empty] = [sampleBlob(1000), sampleBlob(2000), sampleBlob(3000)];
      const open = ({ digest, bytes }: typeof stored) => store.blobs.openIngest(digest, bytes.length);
      const ingests = [await open(stored), await open(dropped), await open(empty)] as const;
      expect(await listIngests()).toEqual([]);
      await writePiece(ingests[0], stored, 0);
      await writePiece(ingests[1], dropped, 0);
      expect(await listIngests()).toHaveLength(4);
      await store.blobs.writeBlob(dropped.digest, dropped.bytes);
      for (const [at, blob] of [stored, dropped].entries()) await ingests[at]?.commit(blob.digest);
      await ingests[2].close();
      expect(await listIngests()).toEqual([]);
    });

    it.each([
      ['a byte of it has flipped', '', (bytes: Buffer) => bytes.fill(bytes.readUInt8(5) ^ 1, 5, 6)],
      ['a byte of its record has flipped', '.signed', (bytes: Buffer) => bytes.fill(bytes.readUInt8(9) ^ 1, 9, 10)],
      ['it was cut', '', (bytes: Buffer) => bytes.subarray(1)],
      ['its record was cut', '.signed', (bytes: Buffer) => bytes.subarray(1)],
      ['its record is gone', '.signed', () => undefined],
      ['it is gone', '', () => undefined],
    ])('takes it up after a restart, but not when %s', async (_, suffix, spoil) => {
      const blob = sampleBlob(1000);
      const path = join(harness.dataDir, 'ingest', `sha256-${digestHex(blob.digest)}.piece${suffix}`);
      const openAgain = async () => {
        await reopen();
        return store.blobs.openIngest(blob.digest, 1000);
      };
      await writePiece(await store.blobs.openIngest(blob.digest, 1000), blob, 0);
      let ingest = await openAgain();
      expect(ingest.pieces.size).toBe(1);
      await store[Symbol.asyncDispose]();
      const spoilt = spoil(await readFile(path));
      if (spoilt === undefined) await rm(path);
      else await writeFile(path, spoilt);
      ingest = await openAgain();
      expect(ingest.pieces.size).toBe(0);
      await writePiece(ingest, blob, 0);
      await ingest.commit(blob.digest);
      expect((await readAll(store.blobs, blob)).equals(blob.bytes)).toBe(true);
      expect(await listIngests()).toEqual([]);
    });

    it('throws it away when nobody has wanted it for long', async () => {
      const blob = sampleBlob(1000);
      const ingest = await store.blobs.openIngest(blob.digest, 1000);
      await writePiece(ingest, blob, 0);
      await ingest.close();
      harness.advance(storeOptions.ingestMaxAgeMs + 1_000);
      await vi.waitFor(async () => expect(await listIngests()).toEqual([]));
    });
  });

  it('leaves nothing locked after an opening that failed', async () => {
    await store[Symbol.asyncDispose]();
    failpoints.crashAt(6);
    await expect(harness.open({}, failpoints.files())).rejects.toThrow('died');
    failpoints.heal();
    store = await harness.open({}, failpoints.files());
  });
});
