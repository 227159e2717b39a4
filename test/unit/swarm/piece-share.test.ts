import { beforeAll, describe, expect, it, vi } from 'vitest';
import { planPieces, runRange } from '../../../src/content/piece-plan.ts';
import { isSignatureValid } from '../../../src/content/signed-piece.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { TokenBucket } from '../../../src/lib/token-bucket.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import type { PieceRun } from '../../../src/peer/bulk.ts';
import type { PeerError } from '../../../src/peer/errors.ts';
import { generateIdentity, type PeerIdentity } from '../../../src/peer/identity.ts';
import { createMemoryStore } from '../../../src/store/memory/memory-store.ts';
import { BanList } from '../../../src/swarm/bans.ts';
import type { BlobDownload } from '../../../src/swarm/blob-download.ts';
import { createPiecePool } from '../../../src/swarm/lent-bytes.ts';
import { PieceShare } from '../../../src/swarm/piece-share.ts';
import { createSwarmMetrics } from '../../../src/swarm/swarm-metrics.ts';
import { noMetrics } from '../../../src/telemetry/metrics.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { alterBlobs } from '../../support/image-fleet.ts';
import { makeBlob } from '../../support/memory-piece-source.ts';
import { patience } from '../../support/patience.ts';
import { MiB } from '../../support/swarm-blobs.ts';
import { openTestDownload } from '../../support/swarm-parts.ts';

const { signal } = new AbortController();
let self: PeerIdentity;
let peer: PeerIdentity;
let liar: PeerIdentity;
beforeAll(async () => {
  [self, peer, liar] = await Promise.all([generateIdentity(), generateIdentity(), generateIdentity()]);
});

function setUp(
  options: { slots?: number; maxWaiting?: number; download?: BlobDownload; rateBytesPerSecond?: number } = {},
) {
  const clock = new FakeClock();
  const store = createMemoryStore({ clock });
  const bans = new BanList(clock, { banMs: 1_000 });
  const rot: string[] = [];
  const sent: number[] = [];
  const reads = { rottenAt: -1, opened: 0, delivered: Promise.resolve() };
  const blobs = alterBlobs(store.blobs, {
    openBlob: async (digest) => {
      reads.opened += 1;
      const handle = await store.blobs.openBlob(digest);
      return {
        ...handle,
        read: async (target, position) => {
          const count = await handle.read(target, position);
          const at = reads.rottenAt - position;
          if (reads.rottenAt >= 0 && at >= 0 && at < count) target[at] = (target[at] ?? 0) ^ 1;
          await reads.delivered;
          return count;
        },
      };
    },
  });
  const pool = createPiecePool(clock, 4);
  const share = new PieceShare(
    {
      blobs,
      identity: self,
      clock,
      logger: silentLogger,
      metrics: createSwarmMetrics(noMetrics),
      bans,
      bucket: new TokenBucket(clock, { rateBytesPerSecond: options.rateBytesPerSecond }),
      pool,
      findDownload: () => options.download,
      onRot: (_, what) => rot.push(what),
      onSent: (_, bytes) => sent.push(bytes),
    },
    { slots: options.slots ?? 4, maxWaiting: options.maxWaiting ?? 1, retryAfterMs: 70 },
  );
  return { clock, pool, share, blobs, bans, rot, sent, reads };
}

async function drain(run: PieceRun): Promise<Buffer> {
  const bytes = Buffer.alloc(run.end - run.start);
  let filled = 0;
  while (filled < bytes.length) {
    const count = await run.read(bytes.subarray(filled, filled + 70_000), run.start + filled);
    if (count === 0) break;
    filled += count;
  }
  return bytes.subarray(0, filled);
}

describe('what a node gives of a complete blob', () => {
  it('is the bytes of the run with valid signatures, computed once when none are stored', async () => {
    const { share, blobs, sent, reads } = setUp();
    const { bytes, key } = makeBlob(self, 3 * MiB, 1);
    await blobs.writeBlob(key.digest, bytes);
    for (let time = 0; time < 2; time += 1) {
      const run = await share.openPieces(peer.peerId, key.digest, 4, 3, signal);
      const range = runRange(planPieces(key.sizeBytes), 4, 3);
      expect(run).toMatchObject(range);
      expect(Buffer.compare(await drain(run), bytes.subarray(range.start, range.end))).toBe(0);
      expect(run.pieces.map(({ index }) => index)).toEqual([4, 5, 6]);
      expect(run.pieces.every((piece) => isSignatureValid(key, piece) && piece.signer === self.peerId)).toBe(true);
      await run.throttle(100, signal);
      run.release(time + 1);
      run.release(99);
    }
    expect(sent).toEqual([1, 2]);
    // Computing and two runs.
    expect(reads.opened).toBe(3);
    expect(await blobs.findSignedPieces(key.digest)).toHaveLength(planPieces(key.sizeBytes).pieceCount);
  });

  it('is signed by itself, whoever signed the pieces it was made of', async () => {
    const { share, blobs, bans, reads } = setUp();
    const { bytes, key, pieces } = makeBlob(liar, 2 * MiB, 1);
    await blobs.writeBlob(key.digest, bytes);
    await blobs.writeSignedPieces(key.digest, pieces);
    bans.add(liar.peerId, 'false signature', '');
    const run = await share.openPieces(peer.peerId, key.digest, 0, 2, signal);
    expect(run.pieces.every((piece) => isSignatureValid(key, piece) && piece.signer === self.peerId)).toBe(true);
    expect(run.pieces.map(({ hash }) => hash)).toEqual(pieces.slice(0, 2).map(({ hash }) => hash));
    run.release(0);
    expect(reads.opened).toBe(1);
  });

  it('is checked in one buffer, lent while the run lasts', async () => {
    const { share, blobs, pool } = setUp();
    const { bytes, key, pieces } = makeBlob(self, 2 * MiB, 1);
    await blobs.writeBlob(key.digest, bytes);
    await blobs.writeSignedPieces(key.digest, pieces);
    const run = await share.openPieces(peer.peerId, key.digest, 4, 3, signal);
    expect(pool.usedBytes).toBe(0);
    expect(Buffer.compare(await drain(run), bytes.subarray(run.start, run.end))).toBe(0);
    expect(pool.usedBytes).toBe(0.5 * MiB);
    run.release(0);
    await vi.waitFor(() => expect(pool.usedBytes).toBe(0));
    await expect(drain(run)).rejects.toThrow('given back');
    expect(pool.usedBytes).toBe(0);
  });

  it('is not called rotten for bytes that came when its buffer had been lent to another', async () => {
    const { share, blobs, pool, rot, reads } = setUp();
    const { bytes, key, pieces } = makeBlob(self, 2 * MiB, 1);
    await blobs.writeBlob(key.digest, bytes);
    await blobs.writeSignedPieces(key.digest, pieces);
    const run = await share.openPieces(peer.peerId, key.digest, 4, 3, signal);
    const delivery = Promise.withResolvers<void>();
    reads.delivered = delivery.promise;
    const reading = drain(run);
    await vi.waitFor(() => expect(pool.usedBytes).toBe(0.5 * MiB));
    run.release(0);
    await vi.waitFor(() => expect(pool.usedBytes).toBe(0));
    (await pool.acquire(0.5 * MiB, signal)).fill(0);
    delivery.resolve();
    await expect(reading).rejects.toThrow('ended meanwhile');
    expect(rot).toEqual([]);
  });

  it('is not given when it rotted, and that is told', async () => {
    const { pool, share, blobs, rot, reads } = setUp();
    const { bytes, key, pieces } = makeBlob(self, 2 * MiB, 1);
    await blobs.writeBlob(key.digest, bytes);
    await blobs.writeSignedPieces(key.digest, pieces);
    const run = await share.openPieces(peer.peerId, key.digest, 0, 7, signal);
    reads.rottenAt = 1.5 * MiB;
    await expect(drain(run)).rejects.toMatchObject({ code: 'PEER_ABSENT' });
    expect(rot).toEqual(['piece 6 does not match its hash']);
    run.release(0);
    await vi.waitFor(() => expect(pool.usedBytes).toBe(0));
  });

  it('is not signed when it rotted before it was ever signed', async () => {
    const { share, blobs, rot, reads } = setUp();
    const { bytes, key } = makeBlob(self, 2 * MiB, 1);
    await blobs.writeBlob(key.digest, bytes);
    reads.rottenAt = 9;
    await expect(share.openPieces(peer.peerId, key.digest, 6, 1, signal)).rejects.toMatchObject({
      code: 'PEER_ABSENT',
    });
    expect(rot).toEqual(['the bytes have another digest']);
    expect(await blobs.findSignedPieces(key.digest)).toBeUndefined();
  });

  it.each([
    ['to a banned peer', true, 0, 1],
    ['from beyond the end', false, 7, 1],
    ['in no pieces', false, 0, 0],
    ['in too many pieces', false, 0, 65],
    ['before the start', false, -1, 1],
    ['between pieces', false, 0.5, 1],
  ])('is not given %s', async (_, isBanned, first, count) => {
    const { share, blobs, bans } = setUp();
    const { bytes, key } = makeBlob(self, 2 * MiB, 1);
    await blobs.writeBlob(key.digest, bytes);
    if (isBanned) bans.add(peer.peerId, 'signed wrong piece', '');
    await expect(share.openPieces(peer.peerId, key.digest, first, count, signal)).rejects.toMatchObject({
      code: 'PEER_ABSENT',
    });
    expect(share.running).toBe(0);
  });

  it('is not given when it is not there', async () => {
    const { share } = setUp();
    const absent = digestOf(Buffer.from('absent'));
    await expect(share.openPieces(peer.peerId, absent, 0, 1, signal)).rejects.toMatchObject({ code: 'PEER_ABSENT' });
  });
});

describe('the upload slots of a node', () => {
  async function busy() {
    const kit = setUp({ slots: 1, maxWaiting: 1 });
    const { bytes, key } = makeBlob(self, 4 * MiB, 1);
    await kit.blobs.writeBlob(key.digest, bytes);
    const open = (abort: AbortSignal = signal) => kit.share.openPieces(peer.peerId, key.digest, 6, 1, abort);
    return { ...kit, open, running: await open() };
  }

  it('tell who comes when one is running and one is waiting to come back', async () => {
    const { open, running } = await busy();
    const waiting = open();
    // The second is in the queue before the third asks.
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    await expect(open()).rejects.toMatchObject({ code: 'PEER_BUSY', details: { retryAfterMs: 70 } });
    running.release(1);
    (await waiting).release(0);
  });

  it('are not taken by who left while waiting', async () => {
    const { share, open, running } = await busy();
    const leaving = new AbortController();
    const waiting = open(leaving.signal);
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    leaving.abort(new DOMException('left', 'AbortError'));
    await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
    running.release(1);
    expect(share.running).toBe(0);
    (await open()).release(0);
  });
});

describe('the upload rate of a node', () => {
  async function limited() {
    const kit = setUp({ slots: 1, rateBytesPerSecond: 1.25 * MiB });
    const { bytes, key } = makeBlob(self, 2 * MiB, 1);
    await kit.blobs.writeBlob(key.digest, bytes);
    const open = (abort: AbortSignal = signal) => kit.share.openPieces(peer.peerId, key.digest, 4, 3, abort);
    return { ...kit, open };
  }

  it('keeps back an answer until bytes can follow it at once', async () => {
    const { clock, share, open } = await limited();
    const run = await open();
    const step = run.stepBytes ?? 0;
    expect(step).toBe(MiB / 8);
    await run.throttle(step, signal);
    const second = run.throttle(step, signal);
    await clock.advanceAsync(5);
    await second;
    run.release(2 * step);
    const cutting = new AbortController();
    let isOpen = false;
    const next = open(cutting.signal).then((opened) => {
      isOpen = true;
      return opened;
    });
    await vi.waitFor(() => expect(share.running).toBe(1), patience);
    await clock.advanceAsync(50);
    expect(isOpen).toBe(false);
    await clock.advanceAsync(100);
    (await next).release(0);
  });

  it('has who comes while others are sent to come back, and gives the slot back when somebody leaves', async () => {
    const { clock, share, open } = await limited();
    const run = await open();
    const error = await open().catch((refused: unknown) => refused);
    expect(error).toMatchObject({ code: 'PEER_BUSY' });
    // Too short a wait to be worth less than any refusal says.
    expect((error as PeerError).details['retryAfterMs']).toBeCloseTo(70, -1);
    await run.throttle(MiB / 8, signal);
    run.release(MiB / 8);
    const leaving = new AbortController();
    const next = open(leaving.signal);
    await vi.waitFor(() => expect(share.running).toBe(1), patience);
    leaving.abort(new Error('left'));
    await expect(next).rejects.toThrow('left');
    expect(share.running).toBe(0);
    await clock.advanceAsync(1_000);
    (await open()).release(0);
  });
});

describe('what a node gives of a download under way', () => {
  it('is what it holds, signed by who signed it', async () => {
    const { download, storePiece, bytes, digest } = await openTestDownload(liar, 2 * MiB);
    await storePiece(0);
    const { share } = setUp({ download });
    const run = await share.openPieces(peer.peerId, digest, 0, 1, signal);
    expect(run.pieces[0]!.signer).toBe(liar.peerId);
    expect(Buffer.compare(await drain(run), bytes.subarray(0, 64 * 1024))).toBe(0);
    run.release(0);
    await expect(share.openPieces(peer.peerId, digest, 0, 2, signal)).rejects.toMatchObject({ code: 'PEER_ABSENT' });
  });

  it('goes on when the download completes in the middle of a run', async () => {
    const { download, storeAll, bytes, digest } = await openTestDownload(self, 2 * MiB);
    await storeAll();
    const { share } = setUp({ download });
    const run = await share.openPieces(peer.peerId, digest, 5, 2, signal);
    const first = Buffer.alloc(1000);
    await run.read(first, run.start);
    await download.commit(await download.verify(signal));
    expect(Buffer.compare(await drain(run), bytes.subarray(run.start, run.end))).toBe(0);
    run.release(0);
  });
});
