import { beforeAll, describe, expect, it } from 'vitest';
import type { NodeIdentity } from '../../../src/content/signed-piece.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { generateIdentity } from '../../../src/peer/identity.ts';
import { StoreError } from '../../../src/store/errors.ts';
import { SwarmError } from '../../../src/swarm/errors.ts';
import type { DownloadReader } from '../../../src/swarm/swarm.ts';
import { alterBlobs } from '../../support/image-fleet.ts';
import { KiB, MiB } from '../../support/swarm-blobs.ts';
import { openTestDownload } from '../../support/swarm-parts.ts';

const { signal } = new AbortController();
const unobtainable = () => new SwarmError('SWARM_UNOBTAINABLE', 'nobody has it');
let identity: NodeIdentity;
let other: NodeIdentity;
beforeAll(async () => {
  [identity, other] = await Promise.all([generateIdentity(), generateIdentity()]);
});

const open = (sizeBytes: number, changes: Parameters<typeof openTestDownload>[2] = {}) =>
  openTestDownload(identity, sizeBytes, changes);

async function readTo(reader: DownloadReader, start: number, end: number): Promise<Buffer> {
  const bytes = Buffer.alloc(end - start);
  let at = start;
  while (at < end) {
    const count = await reader.read(bytes.subarray(at - start), at, signal);
    if (count === 0) break;
    at += count;
  }
  return bytes.subarray(0, at - start);
}

const isPending = async (promise: Promise<unknown>) => {
  const pending = Symbol('pending');
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  return (await Promise.race([promise, Promise.resolve(pending)])) === pending;
};

describe('a download of a blob', () => {
  it('goes from fetching over verifying to complete', async () => {
    const { download, storeAll, digest, blobs, clock } = await open(MiB);
    expect(download.transfer()).toMatchObject({ state: 'fetching', piecesHeld: 0, pieceCount: 2 });
    clock.advance(10);
    await storeAll();
    const actual = await download.verify(signal);
    expect([actual, download.state]).toEqual([digest, 'verifying']);
    clock.advance(5);
    await download.commit(actual);
    await download.done;
    expect(await blobs.findBlob(digest)).toMatchObject({ sizeBytes: MiB });
    expect(download.transfer()).toMatchObject({
      state: 'complete',
      piecesHeld: 2,
      bytes: { origin: MiB, peer: 0, local: 0 },
      phasesMs: { firstPiece: 10, lastPiece: 10, verified: 15, committed: 15 },
    });
  });

  it('stores a piece once, whoever brings it and however many at a time', async () => {
    const { download, pieceOf } = await open(MiB);
    const { piece, bytes } = pieceOf(0);
    const from = { from: 'peer', peer: other.peerId } as const;
    const stored = await Promise.all([
      download.storePiece(piece, bytes, from),
      download.storePiece(piece, bytes, { from: 'origin' }),
    ]);
    expect([...stored, await download.storePiece(piece, bytes, from)]).toEqual([true, false, false]);
    expect(download.transfer()).toMatchObject({
      bytes: { peer: bytes.length, origin: 0 },
      peers: [{ peer: other.peerId, bytes: bytes.length }],
    });
  });

  it('keeps its pieces for the next attempt when it fails', async () => {
    const { download, storePiece, blobs, digest } = await open(MiB);
    await storePiece(0);
    const error = unobtainable();
    await download.fail(error);
    await download.fail(new SwarmError('SWARM_STOPPED', 'too late'));
    await expect(download.done).rejects.toBe(error);
    expect(download.transfer()).toMatchObject({ state: 'failed', error: 'SWARM_UNOBTAINABLE: nobody has it' });
    expect(await storePiece(1)).toBe(false);
    const again = await blobs.openIngest(digest, MiB);
    expect([...again.pieces.keys()]).toEqual([0]);
  });

  it('does not come back to life when it fails while its ingest opens', async () => {
    const gate = Promise.withResolvers<void>();
    const opening = open(MiB, {
      blobs: (blobs) =>
        alterBlobs(blobs, {
          openIngest: async (digest, sizeBytes) => {
            await gate.promise;
            return blobs.openIngest(digest, sizeBytes);
          },
        }),
    });
    gate.resolve();
    const { download, blobs, digest } = await opening;
    await download.fail(unobtainable());
    expect(download.state).toBe('failed');
    await expect(download.open()).resolves.toBe(false);
    expect(download.state).toBe('failed');
    await (await blobs.openIngest(digest, MiB)).close();
  });

  it('fetches dropped pieces again', async () => {
    const { download, storeAll, storePiece, digest } = await open(MiB);
    await storePiece(0, identity, true);
    await storePiece(1);
    expect(await download.verify(signal)).not.toBe(digest);
    await download.dropPieces([0]);
    expect([download.state, download.hasPiece(0), download.hasPiece(1)]).toEqual(['fetching', false, true]);
    const { bytes } = download.transfer();
    expect(bytes.origin + bytes.peer + bytes.local).toBe(download.sizeBytes / 2);
    await Promise.all([download.dropPieces([1]), download.dropPieces([1])]);
    expect(download.transfer()).toMatchObject({ bytes: { origin: 0, peer: 0, local: 0 } });
    await storeAll();
    expect(await download.verify(signal)).toBe(digest);
    const all = download.transfer();
    expect(all.bytes.origin + all.bytes.peer + all.bytes.local).toBe(download.sizeBytes);
    expect(all.peers.reduce((sum, peer) => sum + peer.bytes, 0)).toBe(all.bytes.peer);
  });

  it('lets the write of a piece fail without counting it', async () => {
    let isFull = true;
    const { download, storePiece } = await open(MiB, {
      blobs: (blobs) =>
        alterBlobs(blobs, {
          openIngest: async (digest, sizeBytes) => {
            const ingest = await blobs.openIngest(digest, sizeBytes);
            const write = ingest.writePiece.bind(ingest);
            ingest.writePiece = async (...args) => {
              if (isFull) throw new StoreError('STORE_FULL', 'no space');
              await write(...args);
            };
            return ingest;
          },
        }),
    });
    await expect(storePiece(0)).rejects.toMatchObject({ code: 'STORE_FULL' });
    expect([download.isWriting(0), download.hasPiece(0)]).toEqual([false, false]);
    isFull = false;
    expect(await storePiece(0)).toBe(true);
  });

  it('does not keep a piece whose signer was found out while it was written', async () => {
    const { download, pieceOf } = await open(MiB);
    const { piece, bytes } = pieceOf(0, other);
    const stored = download.storePiece(piece, bytes, { from: 'peer', peer: other.peerId });
    download.distrusted.add(other.peerId);
    expect([await stored, download.hasPiece(0), download.transfer().bytes.peer]).toEqual([false, false, 0]);
  });

  it('knows each repository once, and not endlessly many', async () => {
    const { download } = await open(KiB);
    expect(download.addRepository({ namespace: 'origin.test', name: 'library/demo' })).toBe(false);
    const added = Array.from({ length: 20 }, (_, at) => download.addRepository({ namespace: 'n', name: `${at}` }));
    expect(added.filter(Boolean)).toHaveLength(7);
  });
});

describe('a reader of a download', () => {
  it('gets what is verified by piece at once and the last piece’s worth only with the digest', async () => {
    const { download, storeAll, bytes, digest } = await open(2 * MiB);
    const reader = download.openReader({ start: 0, end: 2 * MiB });
    await storeAll();
    const withheldFrom = 2 * MiB - download.plan.pieceBytes;
    expect(Buffer.compare(await readTo(reader, 0, withheldFrom), bytes.subarray(0, withheldFrom))).toBe(0);
    const tail = readTo(reader, withheldFrom, 2 * MiB);
    expect(await isPending(tail)).toBe(true);
    await download.commit(await download.verify(signal));
    expect(Buffer.compare(await tail, bytes.subarray(withheldFrom))).toBe(0);
    expect(await reader.read(Buffer.alloc(1), 2 * MiB, signal)).toBe(0);
    expect(download.digest).toBe(digest);
  });

  it('gets what a new peer brought a while later, but the first piece at once, and nothing that is contested', async () => {
    const { download, pieceOf, clock } = await open(4 * MiB);
    const reader = download.openReader({ start: 0, end: 4 * MiB });
    for (const index of [0, 1]) {
      const { piece, bytes } = pieceOf(index, other);
      await download.storePiece(piece, bytes, { from: 'peer', peer: other.peerId });
    }
    const target = Buffer.alloc(64 * KiB);
    expect(await reader.read(target, 0, signal)).toBe(64 * KiB);
    const second = reader.read(target, 64 * KiB, signal);
    await clock.advanceAsync(1999);
    expect(await isPending(second)).toBe(true);
    download.contested.add(other.peerId);
    await clock.advanceAsync(126);
    expect(await isPending(second)).toBe(true);
    download.contested.delete(other.peerId);
    download.notify();
    expect(await second).toBe(64 * KiB);
    reader.close();
    await download.fail(unobtainable());
    expect(clock.pending).toBe(0);
  });

  it('gets nothing of a signer that is contested by the piece that just came, not even the first piece', async () => {
    const { download, pieceOf } = await open(4 * MiB);
    download.onHeld = () => download.contested.add(other.peerId);
    const reader = download.openReader({ start: 0, end: 4 * MiB });
    const first = reader.read(Buffer.alloc(64 * KiB), 0, signal);
    const { piece, bytes } = pieceOf(0, other);
    await download.storePiece(piece, bytes, { from: 'peer', peer: other.peerId });
    expect(await isPending(first)).toBe(true);
    download.contested.clear();
    download.notify();
    expect(await first).toBe(64 * KiB);
    reader.close();
    await download.fail(unobtainable());
  });

  it('is cut off as soon as a piece that it gave out comes anew with other bytes, and not with the same', async () => {
    const { download, pieceOf } = await open(4 * MiB);
    const readers = [0, 64 * KiB].map((start) => download.openReader({ start, end: 4 * MiB }));
    for (const index of [0, 1]) {
      const { piece, bytes } = pieceOf(index, other, index === 1);
      await download.storePiece(piece, bytes, { from: 'origin' });
      await readers[index]!.read(Buffer.alloc(64 * KiB), index * 64 * KiB, signal);
    }
    await download.dropPieces([0, 1]);
    for (const index of [0, 1]) {
      const { piece, bytes } = pieceOf(index);
      await download.storePiece(piece, bytes, { from: 'origin' });
    }
    expect(await readers[0]!.read(Buffer.alloc(9), 0, signal)).toBe(9);
    await expect(readers[1]!.read(Buffer.alloc(9), 64 * KiB, signal)).rejects.toMatchObject({
      code: 'SWARM_DIGEST_MISMATCH',
      details: { piece: 1 },
    });
    for (const reader of readers) reader.close();
  });

  it('says which piece it waits for, and that it left', async () => {
    const { download, storePiece } = await open(2 * MiB);
    const waits: (number | undefined)[] = [];
    download.onReader = (_, piece) => waits.push(piece);
    const reader = download.openReader({ start: 0, end: 2 * MiB });
    const read = reader.read(Buffer.alloc(10), 70 * KiB, signal);
    await storePiece(0);
    await storePiece(1);
    expect(await read).toBe(10);
    reader.close();
    reader.close();
    expect(waits).toEqual([1, 1, undefined]);
  });

  it('stops waiting when its client leaves', async () => {
    const { download } = await open(2 * MiB);
    const reader = download.openReader({ start: 0, end: 10 });
    const leaving = new AbortController();
    const read = reader.read(Buffer.alloc(10), 0, leaving.signal);
    leaving.abort(new DOMException('the client left', 'AbortError'));
    await expect(read).rejects.toMatchObject({ name: 'AbortError' });
    expect(download.state).toBe('fetching');
  });

  it('fails with the download, waiting or not', async () => {
    const { download } = await open(MiB);
    const reader = download.openReader({ start: 0, end: MiB });
    const read = reader.read(Buffer.alloc(10), 0, signal);
    const error = unobtainable();
    await download.fail(error);
    await expect(read).rejects.toBe(error);
    await expect(reader.read(Buffer.alloc(10), 0, signal)).rejects.toBe(error);
  });

  it('reads nothing into nothing', async () => {
    const { download } = await open(MiB);
    expect(await download.openReader({ start: 0, end: 10 }).read(Buffer.alloc(0), 0, signal)).toBe(0);
  });

  it('goes over to the stored blob when the commit closes the ingest under its read', async () => {
    const gate = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    let isReading = false;
    const { download, storeAll, bytes } = await open(2 * MiB, {
      blobs: (blobs) =>
        alterBlobs(blobs, {
          openIngest: async (digest, sizeBytes) => {
            const ingest = await blobs.openIngest(digest, sizeBytes);
            const read = ingest.read.bind(ingest);
            ingest.read = async (...args) => {
              if (isReading) {
                begun.resolve();
                await gate.promise;
              }
              return read(...args);
            };
            return ingest;
          },
        }),
    });
    await storeAll();
    const actual = await download.verify(signal);
    isReading = true;
    const reader = download.openReader({ start: 0, end: 2 * MiB });
    const read = readTo(reader, 0, 2 * MiB);
    await begun.promise;
    await download.commit(actual);
    gate.resolve();
    expect(Buffer.compare(await read, bytes)).toBe(0);
    reader.close();
  });

  it('fails when what it gave out proved wrong, and not when it is proved right', async () => {
    const { download, storePiece, storeAll, digest } = await open(2 * MiB);
    const [wrong, right] = [0, 64 * KiB].map((start) => download.openReader({ start, end: 2 * MiB }));
    await storePiece(0, other, true);
    await storePiece(1, other);
    for (let index = 2; index < download.plan.pieceCount; index += 1) await storePiece(index);
    await readTo(wrong!, 0, 10);
    await readTo(right!, 64 * KiB, 64 * KiB + 10);
    expect(await download.verify(signal)).not.toBe(digest);
    await download.dropPieces([0, 1]);
    await storeAll();
    await download.commit(await download.verify(signal));
    await expect(wrong!.read(Buffer.alloc(10), 10, signal)).rejects.toMatchObject({ code: 'SWARM_DIGEST_MISMATCH' });
    expect(await readTo(right!, 64 * KiB + 10, 2 * MiB)).toHaveLength(2 * MiB - 64 * KiB - 10);
  });

  it('fails when the stored blob ends before its size', async () => {
    const short = new Map<Digest, boolean>();
    const { download, storeAll, digest } = await open(MiB, {
      blobs: (blobs) =>
        alterBlobs(blobs, {
          openBlob: async (wanted) => {
            const handle = await blobs.openBlob(wanted);
            return short.has(wanted) ? { ...handle, read: async () => 0 } : handle;
          },
        }),
    });
    await storeAll();
    await download.commit(await download.verify(signal));
    short.set(digest, true);
    const reader = download.openReader({ start: 0, end: MiB });
    await expect(reader.read(Buffer.alloc(10), 0, signal)).rejects.toMatchObject({ code: 'SWARM_UNOBTAINABLE' });
  });
});
