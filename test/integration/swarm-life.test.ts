import { describe, expect, it } from 'vitest';
import { planPieces } from '../../src/content/piece-plan.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { createMemoryOrigin } from '../../src/origin/memory/memory-origin.ts';
import type { BlobHandle, BlobStore } from '../../src/store/blob-store.ts';
import { StoreError } from '../../src/store/errors.ts';
import { createMemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Transfer } from '../../src/swarm/swarm.ts';
import { alterBlobs } from '../support/image-fleet.ts';
import { demoRepository, KiB, MiB, putBlob, readRange, readStored, until } from '../support/swarm-blobs.ts';
import { startSwarmFleet } from '../support/swarm-fleet.ts';
import { createSwitchedOrigin } from '../support/switched-origin.ts';

describe('readers of a swarm download', () => {
  it('get a range from the middle, its tail only once the digest is verified', async () => {
    const gate = Promise.withResolvers<void>();
    const lastByte = 9 * MiB - 1;
    const origin = createMemoryOrigin({
      beforeCall: async (call) => {
        if ((call.range?.end ?? 0) > lastByte) await gate.promise;
      },
    });
    const { bytes, request } = putBlob([origin], 9 * MiB);
    await using fleet = await startSwarmFleet(1, origin);
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    const start = 2 * MiB + 17;
    const end = 5 * MiB + 3;
    const reader = download!.openReader({ start, end });
    const withheldFrom = end - planPieces(request.sizeBytes).pieceBytes;
    const target = Buffer.alloc(end - start);
    let position = start;
    while (position < withheldFrom)
      position += await reader.read(target.subarray(position - start), position, AbortSignal.timeout(60_000));
    expect(position).toBe(withheldFrom);
    const tail = reader.read(target.subarray(position - start), position, AbortSignal.timeout(60_000));
    await until(() => download!.transfer().piecesHeld >= 16, 'the pieces of the tail are here');
    expect(download!.transfer().state).toBe('fetching');
    gate.resolve();
    position += await tail;
    while (position < end)
      position += await reader.read(target.subarray(position - start), position, AbortSignal.timeout(60_000));
    expect(Buffer.compare(target, bytes.subarray(start, end))).toBe(0);
    reader.close();
  });

  it('may leave, nine of ten, without stopping the one that stays', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 6 * MiB);
    await using fleet = await startSwarmFleet(2, origin);
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    const leaving = Array.from({ length: 9 }, async (_, at) => {
      const reader = download!.openReader({ start: 0, end: request.sizeBytes });
      const abort = new AbortController();
      const read = reader.read(Buffer.alloc(64 * KiB), 0, abort.signal);
      if (at % 2 === 0) abort.abort(new DOMException('the client left', 'AbortError'));
      await read.catch(() => {});
      reader.close();
    });
    const staying = readRange(download!, 0, request.sizeBytes);
    await Promise.all(leaving);
    expect(digestOf(await staying)).toBe(request.digest);
  });

  it('find the blob complete when they come back after leaving', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 3 * MiB);
    await using fleet = await startSwarmFleet(1, origin);
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    download!.openReader({ start: 0, end: 10 }).close();
    await download!.done;
    expect(digestOf(await readRange(download!, 0, request.sizeBytes))).toBe(request.digest);
    const [again] = fleet.nodes[0]!.swarm.fetch([request]);
    await again!.done;
    expect(again!.transfer().bytes).toEqual({ origin: 0, peer: 0, local: request.sizeBytes });
  });
});

describe('readers of a blob whose origin sent a wrong byte once', () => {
  it('fail if they gave that byte out, and get the right ones if they begin anew', async () => {
    let isFirst = true;
    const origin = createMemoryOrigin({
      alterBody: async function* (call, chunks) {
        let isWrong = isFirst && call.range?.start === 0;
        if (isWrong) isFirst = false;
        for await (const chunk of chunks) {
          const copy = Buffer.from(chunk);
          if (isWrong) copy[0] = (copy[0] ?? 0) ^ 1;
          isWrong = false;
          yield copy;
        }
      },
    });
    const { bytes, request } = putBlob([origin], 3 * MiB);
    await using fleet = await startSwarmFleet(1, origin);
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    const early = readRange(download!, 0, request.sizeBytes);
    const beside = readRange(download!, MiB, request.sizeBytes);
    await expect(early).rejects.toMatchObject({ code: 'SWARM_DIGEST_MISMATCH' });
    expect(Buffer.compare(await beside, bytes.subarray(MiB))).toBe(0);
    await download!.done;
    expect(digestOf(await readRange(download!, 0, request.sizeBytes))).toBe(request.digest);
  });
});

describe('a swarm download over the lives of its node', () => {
  it('is told of when it begins to fetch, and not when the blob is there already', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 2 * MiB);
    let starts = 0;
    await using fleet = await startSwarmFleet(1, origin, {
      onTransferStart: () => {
        starts += 1;
      },
    });
    const { swarm, store } = fleet.nodes[0]!;
    const fetch = () => swarm.fetch([request])[0]!.done;
    await fetch();
    expect(starts).toBe(1);
    expect(await store.blobs.findBlob(request.digest)).toBeDefined();
    await fetch();
    expect(starts).toBe(1);
  });

  it('goes on with the pieces of an earlier life', async () => {
    const { origin, state } = createSwitchedOrigin({ stopAfterBytes: 3 * MiB });
    const { request } = putBlob([origin], 6 * MiB);
    const store = createMemoryStore({ clock: systemClock });
    {
      await using fleet = await startSwarmFleet(1, origin, { store: () => store, swarm: { patienceMs: 1_000 } });
      await expect(fleet.nodes[0]!.swarm.fetch([request])[0]!.done).rejects.toMatchObject({
        code: 'SWARM_UNOBTAINABLE',
      });
    }
    Object.assign(state, { isUp: true, leftBytes: Number.POSITIVE_INFINITY });
    const before = origin.sentBytes;
    await using fleet = await startSwarmFleet(1, origin, { store: () => store });
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    await download!.done;
    const { local } = download!.transfer().bytes;
    expect(local).toBeGreaterThanOrEqual(2 * MiB);
    expect(origin.sentBytes - before).toBe(request.sizeBytes - local);
    expect(digestOf(await readStored(store.blobs, request.digest))).toBe(request.digest);
    await store[Symbol.asyncDispose]();
  });

  it('fails with SWARM_STOPPED when the node stops, at whatever moment', async () => {
    const origin = createMemoryOrigin({ beforeCall: () => new Promise(() => {}) });
    const { request } = putBlob([origin], 2 * MiB);
    const fleet = await startSwarmFleet(1, origin);
    const [early] = fleet.nodes[0]!.swarm.fetch([request]);
    const read = readRange(early!, 0, 10);
    read.catch(() => {});
    await fleet[Symbol.asyncDispose]();
    await expect(early!.done).rejects.toMatchObject({ code: 'SWARM_STOPPED' });
    await expect(read).rejects.toMatchObject({ code: 'SWARM_STOPPED' });
    const [late] = fleet.nodes[0]!.swarm.fetch([request]);
    await expect(late!.done).rejects.toMatchObject({ code: 'SWARM_STOPPED' });
  });

  it('completes by itself when the origin returns after the download failed', async () => {
    const { origin, state } = createSwitchedOrigin({ stopAfterBytes: 2 * MiB });
    const { request } = putBlob([origin], 4 * MiB);
    await using fleet = await startSwarmFleet(2, origin, { swarm: { patienceMs: 1_000, resumeForMs: 60_000 } });
    const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
    for (const download of downloads)
      await expect(download.done).rejects.toMatchObject({
        code: 'SWARM_UNOBTAINABLE',
        message: expect.stringMatching(/\d+ of \d+ pieces: no peer gives them \(missing: \d/),
      });
    const failed = fleet.nodes.map((node) => node.swarm.transfers().find(({ endedAtMs }) => endedAtMs !== undefined));
    Object.assign(state, { isUp: true, leftBytes: Number.POSITIVE_INFINITY });
    for (const [at, node] of fleet.nodes.entries()) {
      const transfers = () => node.swarm.transfers();
      await until(() => transfers()[0]?.state === 'complete', 'the blob completes by itself');
      // One story from the first byte on, not a new one with most of the blob from before.
      expect(transfers()).toMatchObject([{ startedAtMs: failed[at]?.startedAtMs, bytes: { local: 0 } }]);
      const [{ bytes, resumptions, waitedMs }] = transfers() as [Transfer];
      expect([bytes.origin + bytes.peer, resumptions > 0]).toEqual([request.sizeBytes, true]);
      expect(waitedMs.nobody).toBeGreaterThanOrEqual(500);
    }
  });
});

describe('a swarm download on a node in trouble', () => {
  it('fails with the cause when the disk is full, and is not tried again and again', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 2 * MiB);
    await using fleet = await startSwarmFleet(1, origin, {
      swarm: { resumeForMs: 60_000 },
      blobs: (_, blobs) =>
        alterBlobs(blobs, {
          openIngest: async (digest, sizeBytes) => {
            const ingest = await blobs.openIngest(digest, sizeBytes);
            const write = ingest.writePiece.bind(ingest);
            ingest.writePiece = async (piece, bytes) => {
              if (piece.index > 1) throw new StoreError('STORE_FULL', 'no space left');
              await write(piece, bytes);
            };
            return ingest;
          },
        }),
    });
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    await expect(download!.done).rejects.toMatchObject({
      code: 'SWARM_UNOBTAINABLE',
      message: expect.stringContaining('no space left'),
      cause: { code: 'STORE_FULL' },
    });
    const transfers = () => fleet.nodes[0]!.swarm.transfers();
    await until(() => transfers().length === 1 && transfers()[0]!.state === 'failed', 'it is in the books');
  });

  it('fails with the cause when the ingest cannot be opened', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], MiB);
    await using fleet = await startSwarmFleet(1, origin, {
      blobs: (_, blobs) =>
        alterBlobs(blobs, {
          openIngest: async () => {
            throw new StoreError('STORE_FULL', 'no space left');
          },
        }),
    });
    await expect(fleet.nodes[0]!.swarm.fetch([request])[0]!.done).rejects.toMatchObject({
      cause: { code: 'STORE_FULL' },
    });
  });

  it('goes to the origin when the directory gives no answer', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], MiB);
    await using fleet = await startSwarmFleet(2, origin, {
      swarm: { directoryTimeoutMs: 50 },
      directory: (_, directory) => ({
        announce: (_entries, signal) =>
          new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
        find: (digests, signal) => directory.find(digests, signal),
        withdraw: (digests, signal) => directory.withdraw(digests, signal),
        onProvider: (listener) => directory.onProvider(listener),
        publishRoot: (digest) => directory.publishRoot(digest),
      }),
    });
    await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
  });
});

describe('bit rot in a seed', () => {
  it('is noticed, not spread, quarantined, and healed from the origin', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 5 * MiB);
    const rot = new Rot();
    await using fleet = await startSwarmFleet(2, origin, {
      blobs: (index, blobs) => (index === 0 ? rot.over(blobs) : blobs),
    });
    const [seed, other] = fleet.nodes;
    await seed!.swarm.fetch([request])[0]!.done;
    rot.rottenAt = 3 * MiB + 5;
    const [download] = other!.swarm.fetch([request]);
    await download!.done;
    expect(digestOf(await readStored(other!.store.blobs, request.digest))).toBe(request.digest);
    expect(rot.quarantined).toEqual([request.digest]);
    await until(async () => (await seed!.store.blobs.findBlob(request.digest)) !== undefined, 'the seed heals');
    expect(other!.swarm.peers().every((peer) => peer.ban === undefined)).toBe(true);
  });

  it('makes an honest node sign nothing wrong for a blob that it stored whole', async () => {
    const origin = createMemoryOrigin();
    const { bytes, request } = putBlob([origin], 2 * MiB);
    const rot = new Rot();
    await using fleet = await startSwarmFleet(2, origin, {
      blobs: (index, blobs) => (index === 0 ? rot.over(blobs) : blobs),
      findRepository: async () => demoRepository,
    });
    const [seed, other] = fleet.nodes;
    await seed!.store.blobs.writeBlob(request.digest, bytes);
    rot.rottenAt = 77;
    await seed!.directory.announce([{ digest: request.digest, holding: 'complete' }], AbortSignal.timeout(60_000));
    await other!.swarm.fetch([request])[0]!.done;
    expect(other!.swarm.peers().every((peer) => peer.ban === undefined)).toBe(true);
    expect(rot.quarantined).toEqual([request.digest]);
    await until(async () => (await seed!.store.blobs.findBlob(request.digest)) !== undefined, 'the seed heals');
  });
});

/** Puts a flipped byte into what is read of complete blobs, until they are quarantined. */
class Rot {
  rottenAt: number | undefined;
  readonly quarantined: string[] = [];

  over(blobs: BlobStore): BlobStore {
    return alterBlobs(blobs, {
      openBlob: async (digest) => this.#spoil(await blobs.openBlob(digest)),
      quarantineBlob: async (digest, reason) => {
        this.quarantined.push(digest);
        this.rottenAt = undefined;
        await blobs.quarantineBlob(digest, reason);
      },
    });
  }

  #spoil(handle: BlobHandle): BlobHandle {
    return {
      digest: handle.digest,
      sizeBytes: handle.sizeBytes,
      close: () => handle.close(),
      read: async (target, position) => {
        const count = await handle.read(target, position);
        const at = (this.rottenAt ?? -1) - position;
        if (at >= 0 && at < count) target[at] = (target[at] ?? 0) ^ 4;
        return count;
      },
    };
  }
}
