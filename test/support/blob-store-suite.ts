import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pieceRange, planPieces } from '../../src/content/piece-plan.ts';
import { digestOf } from '../../src/oci/digest.ts';
import type { BlobStore, Ingest } from '../../src/store/blob-store.ts';
import type { Store } from '../../src/store/store.ts';
import { blobOf, collect, type SampleBlob, sampleBlob } from './store-fixtures.ts';

const MiB = 1024 * 1024;

export interface StoreHarness {
  open(): Promise<Store>;
  dispose(): Promise<void>;
  advance(spanMs: number): void;
}

/** What every BlobStore does. */
export function describeBlobStore(name: string, createHarness: () => Promise<StoreHarness>): void {
  describe(`${name} as a blob store`, () => {
    let harness: StoreHarness;
    let store: Store;
    let blobs: BlobStore;

    beforeEach(async () => {
      harness = await createHarness();
      store = await harness.open();
      blobs = store.blobs;
    });

    afterEach(async () => {
      await store[Symbol.asyncDispose]();
      await harness.dispose();
    });

    it('knows nothing of a blob that was never stored', async () => {
      const { digest } = sampleBlob(10);
      expect(await blobs.findBlob(digest)).toBeUndefined();
      expect(await blobs.findSignedPieces(digest)).toBeUndefined();
      await expect(blobs.openBlob(digest)).rejects.toMatchObject({ code: 'STORE_NOT_FOUND', details: { digest } });
      await expect(blobs.writeSignedPieces(digest, [])).rejects.toMatchObject({ code: 'STORE_NOT_FOUND' });
      await blobs.removeBlob(digest);
      await blobs.quarantineBlob(digest, 'test');
    });

    it.each([0, 1, 4096, MiB + 1])('stores %i bytes at once and reads them back', async (sizeBytes) => {
      const blob = sampleBlob(sizeBytes);
      const record = await blobs.writeBlob(blob.digest, blob.bytes);
      expect(record).toMatchObject({ digest: blob.digest, sizeBytes });
      expect(await blobs.findBlob(blob.digest)).toEqual(record);
      expect(await readAll(blobs, blob)).toEqual(Buffer.from(blob.bytes));
      expect(await blobs.usage()).toMatchObject({ blobs: 1, blobBytes: sizeBytes });
    });

    it('stores a sha512 blob beside the sha256 one of the same bytes', async () => {
      const { bytes, digest } = sampleBlob(100);
      const long = digestOf(bytes, 'sha512');
      await blobs.writeBlob(digest, bytes);
      await blobs.writeBlob(long, bytes);
      expect(await blobs.usage()).toMatchObject({ blobs: 2, blobBytes: 200 });
      expect((await blobs.findBlob(long))?.digest).toBe(long);
    });

    it('refuses bytes that do not hash to their digest and keeps nothing of them', async () => {
      const { digest } = sampleBlob(10);
      const wrong = blobs.writeBlob(digest, Buffer.from('other'));
      await expect(wrong).rejects.toMatchObject({ code: 'STORE_DIGEST_MISMATCH' });
      expect(await blobs.findBlob(digest)).toBeUndefined();
      expect(await blobs.usage()).toEqual({ blobs: 0, blobBytes: 0, ingests: 0, ingestBytes: 0 });
    });

    it('keeps the first record when the same blob is stored again, also at once', async () => {
      const blob = sampleBlob(5000);
      const [first, second] = await Promise.all([
        blobs.writeBlob(blob.digest, blob.bytes),
        blobs.writeBlob(blob.digest, blob.bytes),
      ]);
      harness.advance(1000);
      expect(second).toEqual(first);
      expect(await blobs.writeBlob(blob.digest, blob.bytes)).toEqual(first);
      expect(await blobs.usage()).toMatchObject({ blobs: 1 });
    });

    it('does not see later changes of the bytes it was given', async () => {
      const blob = blobOf(Buffer.from('some text'));
      const given = Buffer.from(blob.bytes);
      await blobs.writeBlob(blob.digest, given);
      given.fill(0);
      expect(await readAll(blobs, blob)).toEqual(Buffer.from(blob.bytes));
    });

    it('reads at any position, up to the end', async () => {
      const blob = sampleBlob(10_000);
      await blobs.writeBlob(blob.digest, blob.bytes);
      const handle = await blobs.openBlob(blob.digest);
      expect(handle).toMatchObject({ digest: blob.digest, sizeBytes: 10_000 });
      const target = Buffer.alloc(4000);
      expect(await handle.read(target, 8000)).toBe(2000);
      expect(target.subarray(0, 2000)).toEqual(Buffer.from(blob.bytes.subarray(8000)));
      expect(await handle.read(target, 10_000)).toBe(0);
      await handle.close();
      await handle.close();
    });

    it('commits pieces that came in any order, with their signatures', async () => {
      const blob = sampleBlob(2 * MiB + 77);
      const ingest = await blobs.openIngest(blob.digest, blob.bytes.length);
      await Promise.all([...blob.pieces].reverse().map((piece) => writePiece(ingest, blob, piece.index)));
      expect(ingest.pieces.size).toBe(blob.pieces.length);
      expect(await blobs.findBlob(blob.digest)).toBeUndefined();
      expect(await blobs.usage()).toMatchObject({ blobs: 0, ingests: 1, ingestBytes: blob.bytes.length });
      const record = await ingest.commit(blob.digest);
      expect(record).toMatchObject({ digest: blob.digest, sizeBytes: blob.bytes.length });
      expect(await readAll(blobs, blob)).toEqual(Buffer.from(blob.bytes));
      expect(await blobs.findSignedPieces(blob.digest)).toEqual(blob.pieces);
      expect(await blobs.usage()).toEqual({ blobs: 1, blobBytes: blob.bytes.length, ingests: 0, ingestBytes: 0 });
      await ingest.close();
      await ingest.discard();
      expect(await blobs.findBlob(blob.digest)).toEqual(record);
    });

    it('commits an empty blob without any piece', async () => {
      const blob = sampleBlob(0);
      const ingest = await blobs.openIngest(blob.digest, 0);
      await ingest.commit(blob.digest);
      expect(await readAll(blobs, blob)).toHaveLength(0);
    });

    it('keeps the only piece of a small blob like those of a large one', async () => {
      const blob = sampleBlob(100_000);
      const first = await blobs.openIngest(blob.digest, 100_000);
      const target = Buffer.alloc(200_000);
      expect([await first.read(target, 0), (await blobs.usage()).ingests]).toEqual([0, 1]);
      await Promise.all([writePiece(first, blob, 0), writePiece(first, blob, 0)]);
      expect([await first.read(target, 90_000), await first.read(target, 100_000)]).toEqual([10_000, 0]);
      expect(target.subarray(0, 10_000).equals(blob.bytes.subarray(90_000))).toBe(true);
      expect(await blobs.usage()).toMatchObject({ blobs: 0, ingests: 1, ingestBytes: 100_000 });
      await first.close();
      expect(await blobs.usage()).toMatchObject({ ingests: 1, ingestBytes: 100_000 });
      const second = await blobs.openIngest(blob.digest, 100_000);
      expect(second.pieces.get(0)).toEqual(blob.pieces[0]);
      await second.commit(blob.digest);
      expect((await readAll(blobs, blob)).equals(blob.bytes)).toBe(true);
      expect(await blobs.findSignedPieces(blob.digest)).toEqual(blob.pieces);
      expect(await blobs.usage()).toEqual({ blobs: 1, blobBytes: 100_000, ingests: 0, ingestBytes: 0 });
    });

    it('takes the only piece of a small blob again from another source', async () => {
      const blob = sampleBlob(1000);
      const ingest = await blobs.openIngest(blob.digest, 1000);
      const [lie, other] = [blobOf(Buffer.alloc(1000, 7)), blobOf(Buffer.alloc(1000, 8))];
      for (const wrong of [lie, other]) await ingest.writePiece(wrong.pieces[0] ?? fail(), wrong.bytes);
      const target = Buffer.alloc(1000);
      await ingest.read(target, 0);
      expect(target.equals(other.bytes)).toBe(true);
      await ingest.dropPieces([0, 0]);
      expect([ingest.pieces.size, await ingest.read(target, 0)]).toEqual([0, 0]);
      await expect(ingest.commit(blob.digest)).rejects.toMatchObject({ code: 'STORE_INGEST_INCOMPLETE' });
      await writePiece(ingest, blob, 0);
      await ingest.commit(blob.digest);
      expect((await readAll(blobs, blob)).equals(blob.bytes)).toBe(true);
    });

    it.each([
      [1000, 2000],
      [1000, 2 * MiB],
      [2 * MiB, 1000],
    ])('starts anew when an ingest of %i bytes is followed by one of %i', async (before, after) => {
      const blob = sampleBlob(before);
      const first = await blobs.openIngest(blob.digest, before);
      await writeAll(first, blob);
      await first.close();
      const second = await blobs.openIngest(blob.digest, after);
      expect(second.pieces.size).toBe(0);
      await second.close();
      expect(await blobs.usage()).toMatchObject({ ingestBytes: 0 });
    });

    it('reads from the pieces an ingest holds, and not beyond', async () => {
      const blob = sampleBlob(3 * MiB);
      const ingest = await blobs.openIngest(blob.digest, blob.bytes.length);
      const index = blob.pieces.length - 2;
      const { start, end } = pieceRange(planPieces(blob.bytes.length), index);
      await writePiece(ingest, blob, index);
      const target = Buffer.alloc(2 * MiB);
      expect(await ingest.read(target, 0)).toBe(0);
      expect(await ingest.read(target, start + 10)).toBe(end - start - 10);
      expect(target.subarray(0, end - start - 10).equals(blob.bytes.subarray(start + 10, end))).toBe(true);
      expect(await ingest.read(target, 3 * MiB)).toBe(0);
      await ingest.discard();
    });

    it('lets nobody else open a digest that is being ingested', async () => {
      const blob = sampleBlob(10);
      const opening = blobs.openIngest(blob.digest, 10);
      await expect(blobs.openIngest(blob.digest, 10)).rejects.toMatchObject({ code: 'STORE_INGEST_OPEN' });
      await (await opening).close();
      await (await blobs.openIngest(blob.digest, 10)).close();
    });

    it('keeps the pieces of a closed ingest for the next one', async () => {
      const blob = sampleBlob(2 * MiB + 5);
      const first = await blobs.openIngest(blob.digest, blob.bytes.length);
      const kept = [...blob.pieces.keys()].filter((index) => index !== 1);
      for (const index of kept) await writePiece(first, blob, index);
      await first.close();
      await first.close();
      const ingestBytes = blob.bytes.length - blob.pieceBytes(1).length;
      expect(await blobs.usage()).toMatchObject({ ingests: 1, ingestBytes });
      await expect(writePiece(first, blob, 1)).rejects.toMatchObject({ code: 'STORE_INGEST_CLOSED' });
      await expect(first.read(Buffer.alloc(1), 0)).rejects.toMatchObject({ code: 'STORE_INGEST_CLOSED' });
      const second = await blobs.openIngest(blob.digest, blob.bytes.length);
      expect(new Set(second.pieces.keys())).toEqual(new Set(kept));
      expect(second.pieces.get(2)).toEqual(blob.pieces[2]);
      await writePiece(second, blob, 1);
      await second.commit(blob.digest);
      expect((await readAll(blobs, blob)).equals(blob.bytes)).toBe(true);
    });

    it('starts anew when the next ingest of a digest claims another size', async () => {
      const blob = sampleBlob(MiB + 1);
      const first = await blobs.openIngest(blob.digest, blob.bytes.length);
      await writePiece(first, blob, 1);
      await first.close();
      const second = await blobs.openIngest(blob.digest, 2 * MiB);
      expect(second.pieces.size).toBe(0);
      await second.discard();
      expect(await blobs.usage()).toMatchObject({ ingests: 0, ingestBytes: 0 });
    });

    it('forgets an ingest that was discarded', async () => {
      const blob = sampleBlob(MiB);
      const first = await blobs.openIngest(blob.digest, MiB);
      await writePiece(first, blob, 0);
      await first.discard();
      await first.discard();
      await first.close();
      const second = await blobs.openIngest(blob.digest, MiB);
      expect(second.pieces.size).toBe(0);
      await second.discard();
    });

    it('takes a dropped piece again from another source', async () => {
      const blob = sampleBlob(MiB + 9);
      const ingest = await blobs.openIngest(blob.digest, blob.bytes.length);
      const lie = blobOf(Buffer.alloc(MiB + 9, 7));
      await writePiece(ingest, blob, 1);
      await ingest.writePiece({ ...(lie.pieces[0] ?? fail()), index: 0 }, lie.pieceBytes(0));
      await ingest.dropPieces([0, 0]);
      expect([...ingest.pieces.keys()]).toEqual([1]);
      await writeAll(ingest, blob);
      await ingest.commit(blob.digest);
      expect((await readAll(blobs, blob)).equals(blob.bytes)).toBe(true);
      expect(await blobs.findSignedPieces(blob.digest)).toEqual(blob.pieces);
    });

    it('refuses a commit of wrong bytes or of too few, and lets it be mended', async () => {
      const blob = sampleBlob(MiB + 9);
      const ingest = await blobs.openIngest(blob.digest, blob.bytes.length);
      await writePiece(ingest, blob, 0);
      await expect(ingest.commit(blob.digest)).rejects.toMatchObject({ code: 'STORE_INGEST_INCOMPLETE' });
      await writeAll(ingest, blob);
      const actual = digestOf(Buffer.from('x'));
      await expect(ingest.commit(actual)).rejects.toMatchObject({ code: 'STORE_DIGEST_MISMATCH', details: { actual } });
      expect(await blobs.findBlob(blob.digest)).toBeUndefined();
      await ingest.commit(blob.digest);
      expect(await blobs.findBlob(blob.digest)).toBeDefined();
    });

    it('refuses pieces that do not fit the plan', async () => {
      const blob = sampleBlob(MiB + 9);
      const ingest = await blobs.openIngest(blob.digest, blob.bytes.length);
      const piece = blob.pieces[1] ?? fail();
      await expect(ingest.writePiece({ ...piece, index: blob.pieces.length }, blob.bytes)).rejects.toThrow(RangeError);
      await expect(ingest.writePiece({ ...piece, index: -1 }, blob.pieceBytes(1))).rejects.toThrow(RangeError);
      await expect(ingest.writePiece(piece, blob.pieceBytes(1).subarray(1))).rejects.toThrow(RangeError);
      await ingest.discard();
    });

    it('keeps the blob that is there when an ingest of it commits as well', async () => {
      const blob = sampleBlob(MiB);
      const ingest = await blobs.openIngest(blob.digest, MiB);
      await writeAll(ingest, blob);
      const record = await blobs.writeBlob(blob.digest, blob.bytes);
      harness.advance(5000);
      expect(await ingest.commit(blob.digest)).toEqual(record);
      expect(await blobs.findSignedPieces(blob.digest)).toEqual(blob.pieces);
      expect(await blobs.usage()).toMatchObject({ blobs: 1, ingests: 0 });
    });

    it('keeps signed pieces given later', async () => {
      const blob = sampleBlob(MiB + 1);
      await blobs.writeBlob(blob.digest, blob.bytes);
      expect(await blobs.findSignedPieces(blob.digest)).toBeUndefined();
      await blobs.writeSignedPieces(blob.digest, blob.pieces);
      expect(await blobs.findSignedPieces(blob.digest)).toEqual(blob.pieces);
    });

    it.each(['removeBlob', 'quarantineBlob'] as const)('%s leaves an open handle readable', async (method) => {
      const blob = sampleBlob(5000);
      await blobs.writeBlob(blob.digest, blob.bytes);
      await blobs.writeSignedPieces(blob.digest, blob.pieces);
      const handle = await blobs.openBlob(blob.digest);
      await blobs[method](blob.digest, 'test');
      expect(await blobs.findBlob(blob.digest)).toBeUndefined();
      expect(await blobs.findSignedPieces(blob.digest)).toBeUndefined();
      await expect(blobs.openBlob(blob.digest)).rejects.toMatchObject({ code: 'STORE_NOT_FOUND' });
      expect(await blobs.usage()).toMatchObject({ blobs: 0, blobBytes: 0 });
      const target = Buffer.alloc(5000);
      expect(await handle.read(target, 0)).toBe(5000);
      expect(target.equals(blob.bytes)).toBe(true);
      await handle.close();
      await blobs.writeBlob(blob.digest, blob.bytes);
      expect(await readAll(blobs, blob)).toEqual(Buffer.from(blob.bytes));
    });

    it('walks all blobs', async () => {
      const all = Array.from({ length: 20 }, (_, index) => sampleBlob(index + 1));
      for (const blob of all) await blobs.writeBlob(blob.digest, blob.bytes);
      const walked = (await collect(blobs.walkBlobs())).map((record) => record.digest);
      expect(walked.sort()).toEqual(all.map((blob) => blob.digest).sort());
    });

    it('walks the longest unused first', async () => {
      const [one, two, three] = [sampleBlob(1), sampleBlob(2), sampleBlob(3)];
      for (const blob of [one, two, three]) {
        await blobs.writeBlob(blob.digest, blob.bytes);
        harness.advance(20 * 60_000);
      }
      await (await blobs.openBlob(one.digest)).close();
      await store[Symbol.asyncDispose]();
      store = await harness.open();
      const order = await collect(store.blobs.walkLeastRecentlyUsed());
      expect(order.map((record) => record.digest)).toEqual([two.digest, three.digest, one.digest]);
    });
  });
}

export function writePiece(ingest: Ingest, blob: SampleBlob, index: number): Promise<void> {
  return ingest.writePiece(blob.pieces[index] ?? fail(), blob.pieceBytes(index));
}

export async function writeAll(ingest: Ingest, blob: SampleBlob): Promise<void> {
  for (const piece of blob.pieces) await writePiece(ingest, blob, piece.index);
}

export async function readAll(blobs: BlobStore, blob: { digest: SampleBlob['digest'] }): Promise<Buffer> {
  const handle = await blobs.openBlob(blob.digest);
  try {
    const bytes = Buffer.alloc(handle.sizeBytes);
    let at = 0;
    while (at < bytes.length) {
      const count = await handle.read(bytes.subarray(at), at);
      if (count === 0) break;
      at += count;
    }
    return bytes.subarray(0, at);
  } finally {
    await handle.close();
  }
}

function fail(): never {
  throw new Error('the sample lacks a piece');
}
