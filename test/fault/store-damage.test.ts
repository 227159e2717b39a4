import { chmod, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestHex } from '../../src/oci/digest.ts';
import type { Store } from '../../src/store/store.ts';
import { readAll, writeAll } from '../support/blob-store-suite.ts';
import { createDiskHarness, storeOptions } from '../support/disk-harness.ts';
import { expectConsistent } from '../support/store-check.ts';
import {
  collect,
  type SampleBlob,
  type SampleManifest,
  sampleBlob,
  sampleManifest,
  tagOf,
} from '../support/store-fixtures.ts';

const repository = { namespace: 'docker.io', name: 'library/app' };
const imageCount = 30;

describe('a damaged data directory', () => {
  let harness: Awaited<ReturnType<typeof createDiskHarness>>;
  let images: { manifest: SampleManifest; layer: SampleBlob; tag: string }[];
  let shared: SampleBlob;
  let store: Store | undefined;

  beforeEach(async () => {
    harness = await createDiskHarness();
    shared = sampleBlob(50);
    const filled = await harness.open();
    images = Array.from({ length: imageCount }, (_, index) => {
      const layer = sampleBlob(2000 + index);
      return { layer, manifest: sampleManifest([shared, layer]), tag: `v${index}` };
    });
    await filled.blobs.writeBlob(shared.digest, shared.bytes);
    for (const { manifest, layer, tag } of images) {
      await filled.blobs.writeBlob(layer.digest, layer.bytes);
      await filled.blobs.writeBlob(manifest.digest, manifest.bytes);
      await filled.metadata.putManifest(repository, manifest.record);
      await filled.metadata.putTag(repository, tag, tagOf(manifest));
    }
    await filled[Symbol.asyncDispose]();
  });

  afterEach(async () => {
    await store?.[Symbol.asyncDispose]();
    store = undefined;
    await harness.dispose();
  });

  async function expectWhole(): Promise<void> {
    store = await harness.open();
    const digests = [shared.digest, ...images.flatMap(({ layer, manifest }) => [layer.digest, manifest.digest])];
    await expectConsistent(store, harness.dataDir, digests);
    for (const { manifest, layer, tag } of images) {
      expect((await store.metadata.findTag(repository, tag))?.digest, tag).toBe(manifest.digest);
      const { storedAtMs: _, ...said } = manifest.record;
      expect(await store.metadata.findManifest(repository, manifest.digest)).toMatchObject(said);
      expect((await readAll(store.blobs, layer)).equals(layer.bytes)).toBe(true);
    }
    expect(await store.metadata.countEdges(shared.digest)).toBe(imageCount);
    expect(await store.metadata.listRepositories({ limit: 10 })).toEqual([repository]);
  }

  const metadataFile = async (pattern: RegExp) => {
    const directory = join(harness.dataDir, 'metadata');
    const name = (await readdir(directory)).sort().findLast((file) => pattern.test(file));
    if (name === undefined) throw new Error(`no file like ${pattern}`);
    return join(directory, name);
  };

  /** Opening and closing turns LevelDB's log into a table. */
  const makeTable = async () => {
    await (await harness.open())[Symbol.asyncDispose]();
    await (await harness.open())[Symbol.asyncDispose]();
  };

  it('is rebuilt from the files when the index directory is gone', async () => {
    await rm(join(harness.dataDir, 'metadata'), { recursive: true });
    await expectWhole();
  });

  it('is rebuilt when CURRENT is missing', async () => {
    await rm(join(harness.dataDir, 'metadata', 'CURRENT'));
    await expectWhole();
  });

  it('is rebuilt when the index is another one', async () => {
    const stranger = await createDiskHarness();
    await (await stranger.open())[Symbol.asyncDispose]();
    await rm(join(harness.dataDir, 'metadata'), { recursive: true });
    await mkdir(join(harness.dataDir, 'metadata'));
    for (const name of await readdir(join(stranger.dataDir, 'metadata'))) {
      await writeFile(
        join(harness.dataDir, 'metadata', name),
        await readFile(join(stranger.dataDir, 'metadata', name)),
      );
    }
    await stranger.dispose();
    await expectWhole();
  });

  it.each([0.1, 0.3, 0.5, 0.7, 0.9])('survives a flipped bit in the log of the index, at %f of it', async (part) => {
    await flipBit(await metadataFile(/\.log$/), part);
    await expectWhole();
  });

  it('survives a log of the index cut in half', async () => {
    const path = await metadataFile(/\.log$/);
    await truncate(path, Math.floor((await stat(path)).size / 2));
    await expectWhole();
  });

  it.each([0.05, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.95, 0.999])(
    'survives a flipped bit in a table of the index, at %f of it',
    async (part) => {
      await makeTable();
      await flipBit(await metadataFile(/\.ldb$/), part);
      await expectWhole();
    },
  );

  it('survives a damaged MANIFEST of the index', async () => {
    await makeTable();
    await writeFile(await metadataFile(/^MANIFEST/), 'nonsense');
    await expectWhole();
  });

  it('survives a table of the index that is gone', async () => {
    await makeTable();
    await rm(await metadataFile(/\.ldb$/));
    await expectWhole();
  });

  it.each(['', '{', '{"version":"x"}'])('keeps its index when format.json reads %j', async (text) => {
    await writeFile(join(harness.dataDir, 'format.json'), text);
    await expectWhole();
  });

  it('refuses what a newer shoal wrote', async () => {
    await writeFile(join(harness.dataDir, 'format.json'), '{"version":2,"epoch":"x"}');
    await expect(harness.open()).rejects.toMatchObject({
      code: 'STORE_FORMAT_UNSUPPORTED',
      details: { found: 2, supported: 1 },
    });
  });

  it('keeps names when their log is gone, torn or flipped', async () => {
    const path = join(harness.dataDir, 'names.log');
    await flipBit(path, 0.5);
    await expectWhole();
    await store?.[Symbol.asyncDispose]();
    await truncate(path, (await stat(path)).size - 7);
    await expectWhole();
    await store?.[Symbol.asyncDispose]();
    await rm(path);
    await expectWhole();
    await store?.[Symbol.asyncDispose]();
    await rm(join(harness.dataDir, 'metadata'), { recursive: true });
    await expectWhole();
  });

  it('finds manifests by digest when index and name log are both gone', async () => {
    await rm(join(harness.dataDir, 'metadata'), { recursive: true });
    await rm(join(harness.dataDir, 'names.log'));
    store = await harness.open();
    await store.recovered;
    for (const { manifest } of images) {
      expect(await store.metadata.findManifest(repository, manifest.digest)).toBeUndefined();
      const found = await store.metadata.findManifestAnywhere(manifest.digest);
      expect(found).toMatchObject({ mediaType: manifest.record.mediaType, children: manifest.record.children });
    }
    expect(await store.metadata.findManifestAnywhere(shared.digest)).toBeUndefined();
  });

  it('does not bring a deleted tag back', async () => {
    store = await harness.open();
    await store.metadata.deleteTag(repository, 'v3');
    await store[Symbol.asyncDispose]();
    await rm(join(harness.dataDir, 'metadata'), { recursive: true });
    store = await harness.open();
    expect(await store.metadata.findTag(repository, 'v3')).toBeUndefined();
    expect(await store.metadata.findTag(repository, 'v4')).toBeDefined();
  });

  it('drops the record of a file that is gone, while running and at start', async () => {
    const [one, two] = images;
    if (one === undefined || two === undefined) throw new Error('no images');
    await rm(blobPath(one.layer));
    store = await harness.open();
    expect(await store.blobs.findBlob(one.layer.digest)).toBeUndefined();
    await rm(blobPath(two.layer));
    await expect(store.blobs.openBlob(two.layer.digest)).rejects.toMatchObject({ code: 'STORE_NOT_FOUND' });
    expect(await store.blobs.findBlob(two.layer.digest)).toBeUndefined();
    expect(await store.blobs.usage()).toMatchObject({ blobs: 2 * imageCount - 1 });
    await store.blobs.writeBlob(two.layer.digest, two.layer.bytes);
    expect((await readAll(store.blobs, two.layer)).equals(two.layer.bytes)).toBe(true);
  });

  it('puts a file of a wrong length aside, while running and at start', async () => {
    const [one, two] = images;
    if (one === undefined || two === undefined) throw new Error('no images');
    await shorten(blobPath(one.layer));
    store = await harness.open();
    expect(await store.blobs.findBlob(one.layer.digest)).toBeUndefined();
    await shorten(blobPath(two.layer));
    await expect(store.blobs.openBlob(two.layer.digest)).rejects.toMatchObject({ code: 'STORE_NOT_FOUND' });
    expect(await readdir(join(harness.dataDir, 'quarantine'))).toHaveLength(2);
    await expectConsistent(store, harness.dataDir, []);
  });

  it('adopts true files without a record, puts false ones aside and leaves strangers alone', async () => {
    const orphan = sampleBlob(3000);
    const liar = sampleBlob(3000);
    for (const { digest } of [orphan, liar]) await mkdir(join(blobPath({ digest }), '..'), { recursive: true });
    await writeFile(blobPath(orphan), orphan.bytes);
    await writeFile(blobPath(liar), orphan.bytes);
    const stranger = join(harness.dataDir, 'blobs', 'sha256', 'notes.txt');
    await writeFile(stranger, 'hello');
    store = await harness.open();
    await store.recovered;
    expect((await readAll(store.blobs, orphan)).equals(orphan.bytes)).toBe(true);
    expect((await stat(blobPath(orphan))).mode & 0o222).toBe(0);
    expect(await store.blobs.findBlob(liar.digest)).toBeUndefined();
    expect(await readdir(join(harness.dataDir, 'quarantine'))).toHaveLength(1);
    expect(await readFile(stranger, 'utf8')).toBe('hello');
  });

  it('keeps only the pieces that still hash right', async () => {
    const blob = sampleBlob(3_000_000);
    store = await harness.open();
    const first = await store.blobs.openIngest(blob.digest, blob.bytes.length);
    await writeAll(first, blob);
    await first.close();
    await store[Symbol.asyncDispose]();
    await flipBit(first.path ?? '', 0.01);
    const journal = join(first.path ?? '', '..', 'pieces');
    await truncate(journal, (await stat(journal)).size - 1);
    store = await harness.open();
    const second = await store.blobs.openIngest(blob.digest, blob.bytes.length);
    expect(second.pieces.has(0)).toBe(false);
    expect(second.pieces.has(blob.pieces.length - 1)).toBe(false);
    expect(second.pieces.size).toBe(blob.pieces.length - 2);
    await writeAll(second, blob);
    await second.commit(blob.digest);
    expect((await readAll(store.blobs, blob)).equals(blob.bytes)).toBe(true);
  });

  it('throws away ingests that are too old, at start and while running', async () => {
    const [old, young] = [sampleBlob(5000), sampleBlob(6000)];
    store = await harness.open();
    for (const blob of [old, young]) {
      const ingest = await store.blobs.openIngest(blob.digest, blob.bytes.length);
      await writeAll(ingest, blob);
      await ingest.close();
    }
    const kept = await store.blobs.openIngest(young.digest, young.bytes.length);
    await harness.clock.advanceAsync(25 * 3600_000);
    await eventually(async () => {
      harness.advance(storeOptions.flushIntervalMs);
      expect(await store?.blobs.usage()).toMatchObject({ ingests: 1 });
    });
    await kept.close();
    await store[Symbol.asyncDispose]();
    store = await harness.open();
    expect(await store.blobs.usage()).toMatchObject({ ingests: 0, ingestBytes: 0 });
    expect(await readdir(join(harness.dataDir, 'ingest'))).toEqual([]);
  });

  it('keeps leases over a restart, but not those that have ended', async () => {
    store = await harness.open();
    const nowMs = harness.clock.wallMs();
    await store.metadata.lease('long', [shared.digest], nowMs + 3600_000);
    await store.metadata.lease('short', [shared.digest], nowMs + 1000);
    await store[Symbol.asyncDispose]();
    store = await harness.open();
    expect(await store.metadata.expireLeases(nowMs + 2000)).toBe(1);
    await store[Symbol.asyncDispose]();
    store = await harness.open();
    const leases = (await store.metadata.listEdges(shared.digest)).filter(({ kind }) => kind === 'lease');
    expect(leases).toEqual([{ kind: 'lease', owner: 'long' }]);
  });

  it('bounds what it keeps of corrupt blobs', async () => {
    store = await harness.open({ quarantineMaxBytes: 4100 });
    for (const { layer } of images.slice(0, 4)) await store.blobs.quarantineBlob(layer.digest, 'test');
    expect(await readdir(join(harness.dataDir, 'quarantine'))).toHaveLength(2);
    expect(await collect(store.blobs.walkBlobs())).toHaveLength(2 * imageCount + 1 - 4);
  });

  function blobPath({ digest }: Pick<SampleBlob, 'digest'>): string {
    const hex = digestHex(digest);
    return join(harness.dataDir, 'blobs', 'sha256', hex.slice(0, 2), hex);
  }
});

async function flipBit(path: string, part: number): Promise<void> {
  const bytes = await readFile(path);
  const at = Math.floor(bytes.length * part);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
  await writeFile(path, bytes);
}

async function shorten(path: string): Promise<void> {
  await chmod(path, 0o644);
  await truncate(path, 100);
}

async function eventually(check: () => Promise<void>): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  while (true) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > deadlineMs) throw error;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}
