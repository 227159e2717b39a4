import { beforeAll, describe, expect, it } from 'vitest';
import type { SignedPiece } from '../../../src/content/signed-piece.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { TokenBucket } from '../../../src/lib/token-bucket.ts';
import { OriginError } from '../../../src/origin/errors.ts';
import { createMemoryOrigin, type MemoryOriginOptions } from '../../../src/origin/memory/memory-origin.ts';
import type { BulkClient, PieceRequest } from '../../../src/peer/bulk.ts';
import { PeerError } from '../../../src/peer/errors.ts';
import { generateIdentity, type PeerIdentity } from '../../../src/peer/identity.ts';
import { StoreError } from '../../../src/store/errors.ts';
import { BanList } from '../../../src/swarm/bans.ts';
import type { BlobDownload } from '../../../src/swarm/blob-download.ts';
import { DownloadPace } from '../../../src/swarm/download-pace.ts';
import { SwarmError } from '../../../src/swarm/errors.ts';
import { createPiecePool } from '../../../src/swarm/lent-bytes.ts';
import { type OriginRequestsDeps, runOriginRequest } from '../../../src/swarm/origin-requests.ts';
import { type PeerRequestsDeps, runPeerRequest, takeGivenPiece } from '../../../src/swarm/peer-requests.ts';
import type { RequestState } from '../../../src/swarm/schedule/state.ts';
import { createSwarmMetrics } from '../../../src/swarm/swarm-metrics.ts';
import { noMetrics } from '../../../src/telemetry/metrics.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { demoRepository, MiB } from '../../support/swarm-blobs.ts';
import { openTestDownload } from '../../support/swarm-parts.ts';

let self: PeerIdentity;
let peer: PeerIdentity;
let signer: PeerIdentity;
beforeAll(async () => {
  [self, peer, signer] = await Promise.all([generateIdentity(), generateIdentity(), generateIdentity()]);
});
const { signal } = new AbortController();
const bucket = new TokenBucket(new FakeClock(), { rateBytesPerSecond: 0 });

function requestOf(first: number, count: number, from: PeerIdentity | undefined) {
  return {
    id: 1,
    digest: 'sha256:' as never,
    peer: from?.peerId,
    first,
    count,
    startedMs: 0,
    progressMs: 0,
    receivedBytes: 0,
    isHedged: false,
    isRace: false,
    promisedMs: undefined,
    stoodStill: false,
    isStalled: false,
  } satisfies RequestState;
}

describe('a request to a peer', () => {
  type Send = (request: PieceRequest) => Promise<void>;

  async function setUp(send: (kit: Awaited<ReturnType<typeof openTestDownload>>) => Send) {
    const kit = await openTestDownload(signer, 2 * MiB);
    const bans = new BanList(new FakeClock(), { banMs: 1_000 });
    const events: string[] = [];
    const progress: number[] = [];
    const asked = { ...requestOf(0, 2, peer), peer: peer.peerId, promisedMs: undefined as number | undefined };
    const bulk: BulkClient = { fetchPieces: (request) => send(kit)(request), prepare: () => {} };
    const deps: PeerRequestsDeps = {
      bulk,
      bans,
      bucket,
      pace: new DownloadPace(bucket, signal, () => {}),
      clock: kit.clock,
      metrics: createSwarmMetrics(noMetrics),
      logger: silentLogger,
      findAddress: () => ({ host: 'h', port: 1 }),
      onProgress: (_, receivedBytes) => progress.push(receivedBytes),
      onStored: (_, index) => events.push(`stored ${index}`),
      onRefused: (_, index) => events.push(`refused ${index}`),
      onMoving: () => events.push('moving'),
      onPromise: () => {
        asked.promisedMs = 0;
      },
      onSilence: ({ promisedMs }) => events.push(`silent, ${promisedMs === 0 ? 'promised' : 'not promised'}`),
      onLiar: (_, reason, evidence) => events.push(`${reason}: ${evidence.replace(/^sha256:\S+ /, '')}`),
    };
    const run = (changes: Partial<PeerRequestsDeps> = {}, abort: AbortSignal = signal) =>
      runPeerRequest({ ...deps, ...changes }, kit.download, asked, abort);
    const give = (download: BlobDownload, piece: SignedPiece, bytes: Uint8Array) =>
      takeGivenPiece(deps, download, peer.peerId, piece, bytes, signal);
    return { ...kit, bans, events, progress, run, give };
  }

  it('stores the pieces that fit their signed hashes, and adds up what arrives', async () => {
    const { run, events, progress, download } = await setUp(({ pieceOf }) => async (request) => {
      for (const index of [0, 1]) {
        const { piece, bytes } = pieceOf(index);
        request.onProgress?.(bytes.length);
        await request.onPiece(piece, bytes);
      }
    });
    expect(await run()).toEqual({ kind: 'done', bytes: 128 * 1024 });
    expect(events).toEqual(['moving', 'stored 0', 'stored 1']);
    expect(progress[0]).toBe(64 * 1024);
    expect(download.suppliers.get(1)).toBe(peer.peerId);
  });

  it('tells that a slow link moves, though it is little', async () => {
    const { run, progress } = await setUp(({ clock }) => async (request) => {
      for (let at = 0; at < 100; at += 1) {
        request.onProgress?.(100);
        await clock.advanceAsync(10);
      }
    });
    await run();
    // The first byte, then four times a second.
    expect(progress).toEqual([100, 2_600, 5_100, 7_600]);
  });

  it('takes a blob of one piece that was given unasked, once, if it is right', async () => {
    const { give, events, pieceOf: largePiece, download: large } = await setUp(() => async () => {});
    const [small, other] = [await openTestDownload(signer, 3_000), await openTestDownload(signer, 3_000, { seed: 2 })];
    const { piece, bytes } = small.pieceOf(0);
    await give(small.download, piece, bytes.subarray(1));
    await give(large, largePiece(0).piece, largePiece(0).bytes);
    expect(events).toEqual([]);
    await Promise.all([give(small.download, piece, bytes), give(small.download, piece, bytes)]);
    await give(small.download, piece, bytes);
    expect(events).toEqual(['stored 0']);
    expect(small.download.suppliers.get(0)).toBe(peer.peerId);
    const wrong = other.pieceOf(0);
    wrong.bytes[0] = (wrong.bytes[0] ?? 0) ^ 1;
    await give(other.download, wrong.piece, wrong.bytes);
    expect(events.slice(1)).toEqual([expect.stringMatching(/^wrong bytes: piece 0/), 'refused 0']);
    expect(other.download.hasPiece(0)).toBe(false);
    await other.download.fail(new SwarmError('SWARM_STOPPED', ''));
    await give(other.download, other.pieceOf(0).piece, other.pieceOf(0).bytes);
    expect(events).toHaveLength(3);
  });

  it('does not look at a piece that is here already', async () => {
    const { run, events, storePiece } = await setUp(({ pieceOf }) => async (request) => {
      const { bytes, piece } = pieceOf(0, signer, true);
      await request.onPiece({ ...piece, signature: new Uint8Array(64) }, bytes);
    });
    await storePiece(0);
    expect(await run()).toMatchObject({ kind: 'done' });
    expect(events).toEqual([]);
  });

  it.each<[string, (piece: SignedPiece, bytes: Buffer) => SignedPiece, RegExp]>([
    [
      'bytes with another hash than they are said to have',
      (piece, bytes) => {
        bytes[5] = (bytes[5] ?? 0) ^ 1;
        return piece;
      },
      /^wrong bytes: piece 0: said \w{64}, sent \w{64}$/,
    ],
    [
      'a signature that is not the signer’s',
      (piece) => ({ ...piece, signature: piece.signature.map((byte) => byte ^ 1) }),
      /^false signature: piece 0: signature is not 12D3\w+'s$/,
    ],
    ['a signature of another length', (piece) => ({ ...piece, signature: new Uint8Array(3) }), /^false signature/],
  ])('convicts a peer that sends %s', async (_, alter, evidence) => {
    const { run, events, download } = await setUp(({ pieceOf }) => async (request) => {
      const { piece, bytes } = pieceOf(0);
      await request.onPiece(alter(piece, bytes), bytes);
    });
    expect(await run()).toEqual({ kind: 'failed' });
    expect(events[0]).toMatch(evidence);
    expect(events[1]).toBe('refused 0');
    expect([download.rejectedPieces, download.hasPiece(0)]).toEqual([1, false]);
  });

  it.each<[string, (kit: Awaited<ReturnType<typeof setUp>>) => void]>([
    ['is banned', ({ bans }) => bans.add(signer.peerId, 'signed wrong piece', '')],
    ['sent wrong bytes', ({ bans }) => bans.add(signer.peerId, 'wrong bytes', '')],
    ['is not believed for this blob', ({ download }) => download.distrusted.add(signer.peerId)],
    [
      'is not this node, when it relies on itself',
      ({ download }) => {
        download.isSelfReliant = true;
      },
    ],
  ])('refuses a piece whose signer %s, without blaming who passed it on', async (_, arrange) => {
    const kit = await setUp(({ pieceOf }) => async (request) => {
      const { piece, bytes } = pieceOf(0);
      await request.onPiece(piece, bytes);
    });
    arrange(kit);
    expect(await kit.run()).toEqual({ kind: 'doubted', bytes: 65_536 });
    expect(kit.events).toEqual(['refused 0']);
  });

  it.each<[string, boolean, number]>([
    ['one more', true, 1],
    ['none', false, 0],
  ])('keeps of a signer that lied what else it signed as evidence: %s', async (_, isValid, suspects) => {
    const kit = await setUp(({ pieceOf }) => async (request) => {
      const { piece, bytes } = pieceOf(0);
      const signature = isValid ? piece.signature : piece.signature.map((byte) => byte ^ 1);
      await request.onPiece({ ...piece, signature }, bytes);
    });
    kit.download.distrusted.add(signer.peerId);
    await kit.run();
    expect([...kit.download.suspects]).toHaveLength(suspects);
  });

  it.each<[string, Error, object]>([
    ['busy', new PeerError('PEER_BUSY', '', { details: { retryAfterMs: 33 } }), { kind: 'busy', retryAfterMs: 33 }],
    ['without the pieces', new PeerError('PEER_ABSENT', ''), { kind: 'absent' }],
    ['stalled', new PeerError('PEER_STALLED', ''), { kind: 'failed' }],
    ['not a member', new PeerError('PEER_UNTRUSTED', ''), { kind: 'failed' }],
  ])('tells that the peer is %s', async (_, error, outcome) => {
    const { run, download } = await setUp(() => async () => {
      throw error;
    });
    expect(await run()).toEqual(outcome);
    expect(download.account.stalls).toBe('code' in error && error.code === 'PEER_STALLED' ? 1 : 0);
  });

  it.each<[string, string | undefined, string[]]>([
    ['convicts a peer that provably broke the protocol', 'went on', ['broke the protocol: went on']],
    ['does not convict a peer that may speak another version', undefined, []],
  ])('%s', async (_, evidence, told) => {
    const { run, events } = await setUp(() => async () => {
      throw new PeerError('PEER_PROTOCOL', '', { details: evidence === undefined ? {} : { evidence } });
    });
    expect(await run()).toEqual({ kind: 'failed' });
    expect(events).toEqual(told);
  });

  it('convicts a peer that goes on sending once its answer is over', async () => {
    let tell: PieceRequest['onBreach'];
    const { run, events } = await setUp(() => async (request) => {
      tell = request.onBreach;
    });
    expect(await run()).toMatchObject({ kind: 'done' });
    tell?.(new PeerError('PEER_PROTOCOL', '', { details: { evidence: 'went on' } }));
    expect(events).toEqual(['broke the protocol: went on']);
  });

  it('tells of a request that stood still without a byte, and whether the answer had begun', async () => {
    const { run, events } = await setUp(() => async (request) => {
      request.onHead?.();
      throw new PeerError('PEER_STALLED', '');
    });
    await run();
    expect(events).toEqual(['silent, promised']);
    const moved = await setUp(() => async (request) => {
      request.onProgress?.(1);
      throw new PeerError('PEER_STALLED', '');
    });
    await moved.run();
    expect(moved.events).toEqual(['moving']);
  });

  it('tells of silence after the answer had begun when the request is not needed any more, and of no other', async () => {
    const events = await Promise.all(
      [true, false].map(async (isAnswered) => {
        const abort = new AbortController();
        const { run, events } = await setUp(() => async (request) => {
          if (isAnswered) request.onHead?.();
          abort.abort(new DOMException('not needed', 'AbortError'));
          throw new PeerError('PEER_CUT', '');
        });
        expect(await run({}, abort.signal)).toEqual({ kind: 'cancelled' });
        return events;
      }),
    );
    expect(events).toEqual([['silent, promised'], []]);
  });

  it('fails for a peer whose address is not known', async () => {
    const { run } = await setUp(() => async () => {});
    expect(await run({ findAddress: () => undefined })).toEqual({ kind: 'failed' });
  });

  it('is cancelled, not failed, when it is not needed any more', async () => {
    const abort = new AbortController();
    const { run } = await setUp(() => async () => {
      abort.abort(new DOMException('not needed', 'AbortError'));
      throw new PeerError('PEER_CUT', '');
    });
    expect(await run({}, abort.signal)).toEqual({ kind: 'cancelled' });
  });

  it('lets the download fail when the store is full', async () => {
    const { run } = await setUp(() => async () => {
      throw new StoreError('STORE_FULL', 'no space');
    });
    await expect(run()).rejects.toMatchObject({ code: 'STORE_FULL' });
  });
});

async function* cutAfterOneChunk(_call: unknown, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    yield chunk;
    return;
  }
}

describe('a turn at the origin', () => {
  async function setUp(options: MemoryOriginOptions = {}) {
    const kit = await openTestDownload(self, 2 * MiB);
    const origin = createMemoryOrigin(options);
    const stored: number[] = [];
    const progress: number[] = [];
    let wholes = 0;
    const deps: { -readonly [Key in keyof OriginRequestsDeps]: OriginRequestsDeps[Key] } = {
      origin,
      identity: self,
      bucket,
      pool: createPiecePool(kit.clock, 8),
      clock: kit.clock,
      logger: silentLogger,
      onProgress: (_, receivedBytes) => progress.push(receivedBytes),
      onStored: (_, index) => stored.push(index),
      onWhole: () => {
        wholes += 1;
      },
    };
    const run = (first: number, count: number, abort: AbortSignal = signal) =>
      runOriginRequest(deps, kit.download, requestOf(first, count, undefined), abort);
    return {
      ...kit,
      deps,
      origin,
      stored,
      progress,
      run,
      wholes: () => wholes,
      put: () => origin.putBlob(demoRepository, kit.bytes),
    };
  }

  it('cuts the bytes into pieces, signed by this node', async () => {
    const { run, put, stored, download } = await setUp({ chunkBytes: 100_001 });
    put();
    expect(await run(1, 5)).toEqual({ kind: 'done', bytes: 1.5 * MiB - 64 * 1024 });
    expect(stored).toEqual([1, 2, 3, 4, 5]);
    expect([...download.heldPieces.values()].every((piece) => piece.signer === self.peerId)).toBe(true);
  });

  it.each([
    ['all of it came', {}],
    ['the body was cut', { alterBody: cutAfterOneChunk }],
  ])('gives its buffer back when %s', async (_, options) => {
    const { run, put, deps } = await setUp({ chunkBytes: 100_001, ...options });
    put();
    await run(0, 7);
    expect(deps.pool.usedBytes).toBe(0);
  });

  it('gives its buffer back when it is not wanted any more', async () => {
    const unwanted = new AbortController();
    const abortAtOnce: MemoryOriginOptions['alterBody'] = async function* (_, chunks) {
      for await (const chunk of chunks) {
        yield chunk;
        unwanted.abort();
      }
    };
    const { run, put, deps, stored } = await setUp({ chunkBytes: 100_001, alterBody: abortAtOnce });
    put();
    expect(await run(0, 7, unwanted.signal)).toEqual({ kind: 'cancelled' });
    expect([stored, deps.pool.usedBytes]).toEqual([[0], 0]);
  });

  it('gives its buffer back when the disk is full', async () => {
    const { run, put, deps, download } = await setUp();
    put();
    download.storePiece = () => Promise.reject(new StoreError('STORE_FULL', 'full'));
    await expect(run(0, 7)).rejects.toMatchObject({ code: 'STORE_FULL' });
    expect(deps.pool.usedBytes).toBe(0);
  });

  it('has bytes gather that trickle in, but for the head of a blob, and tells of them in steps', async () => {
    const { run, put, stored, clock, progress } = await setUp({ chunkBytes: 8 * 1024 });
    put();
    expect(await run(0, 2)).toMatchObject({ kind: 'done' });
    expect([stored, progress]).toEqual([[0, 1], [8, 72].map((kib) => kib * 1024)]);
    const running = run(5, 1);
    let isDone = false;
    void running.then(() => {
      isDone = true;
    });
    await clock.advanceAsync(9);
    expect(isDone).toBe(false);
    while (!isDone) await clock.advanceAsync(10);
    expect(await running).toEqual({ kind: 'done', bytes: 512 * 1024 });
    // 64 chunks, and after the last there is nothing to wait for.
    expect(clock.nowMs()).toBe(63 * 10 + 9);
  });

  it('tells that a slow origin moves, though it is little', async () => {
    const { run, put, clock, progress } = await setUp({ chunkBytes: 100 });
    put();
    const cancelling = new AbortController();
    const running = run(5, 1, cancelling.signal);
    for (let at = 0; at < 100; at += 1) await clock.advanceAsync(10);
    cancelling.abort(new Error('enough'));
    await running;
    expect(progress.length).toBeGreaterThanOrEqual(4);
    expect(progress.length).toBeLessThan(8);
  });

  it('tells of bytes that trickle when this node takes more slowly than the origin gives', async () => {
    const { run, put, deps, clock, progress } = await setUp({ chunkBytes: 512 * 1024 });
    deps.bucket = new TokenBucket(clock, { rateBytesPerSecond: 256 * 1024 });
    put();
    const running = run(5, 1);
    let isDone = false;
    void running.then(() => {
      isDone = true;
    });
    const told: number[] = [];
    while (!isDone) {
      await clock.advanceAsync(400);
      told.push(progress.at(-1) ?? 0);
    }
    expect(await running).toEqual({ kind: 'done', bytes: 512 * 1024 });
    expect(new Set(told).size).toBe(told.length);
    expect(told.length).toBe(5);
  });

  it('ends at once when it is cancelled while bytes gather', async () => {
    const { run, put, clock } = await setUp({ chunkBytes: 8 * 1024 });
    put();
    const cancelling = new AbortController();
    const running = run(5, 1, cancelling.signal);
    await clock.advanceAsync(15);
    cancelling.abort(new Error('not needed'));
    expect(await running).toEqual({ kind: 'cancelled' });
  });

  it('frees a body unread that is the whole blob though a part was asked for', async () => {
    let freed = 0;
    const kit = await setUp();
    const chunks = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.reject(new Error('nothing should be read')),
        return: async () => {
          freed += 1;
          return { done: true as const, value: undefined };
        },
      }),
    };
    kit.deps.origin = { ...kit.origin, openBlob: async () => ({ isWhole: true, chunks }) };
    expect(await kit.run(1, 5)).toEqual({ kind: 'cancelled' });
    expect([kit.wholes(), kit.stored, freed]).toEqual([1, [], 1]);
  });

  it('takes all of a blob from an origin that ignores Range', async () => {
    const { run, put, stored } = await setUp({ servesRanges: false });
    put();
    expect(await run(0, 7)).toEqual({ kind: 'done', bytes: 2 * MiB });
    expect(stored).toHaveLength(7);
  });

  it('keeps the whole pieces of a body that is cut', async () => {
    const { run, put, stored, download } = await setUp({
      alterBody: async function* (_, chunks) {
        let left = 3;
        for await (const chunk of chunks) if (left-- > 0) yield chunk;
      },
    });
    put();
    expect(await run(0, 5)).toMatchObject({ kind: 'originFailed', isFinal: false });
    expect(stored).toEqual([0, 1]);
    expect(download.missing).toMatch(/^origin origin.test: the body ended early/);
  });

  it.each<[string, OriginError, object]>([
    ['does not have the blob', new OriginError('ORIGIN_NOT_FOUND', ''), { isFinal: true, retryAfterMs: undefined }],
    ['refuses', new OriginError('ORIGIN_FORBIDDEN', ''), { isFinal: true, retryAfterMs: undefined }],
    [
      'is limited',
      new OriginError('ORIGIN_RATE_LIMITED', '', { details: { retryAfterMs: 5_000 } }),
      { isFinal: false, retryAfterMs: 5_000 },
    ],
    ['is away', new OriginError('ORIGIN_UNAVAILABLE', ''), { isFinal: false, retryAfterMs: undefined }],
  ])('tells how an origin failed that %s', async (_, error, outcome) => {
    const { run, put } = await setUp({
      beforeCall: () => {
        throw error;
      },
    });
    put();
    expect(await run(0, 1)).toEqual({ kind: 'originFailed', ...outcome });
  });

  it('asks one repository after the other, also when two turns find out at once', async () => {
    const { run, put, download, origin, stored } = await setUp();
    put();
    const missing = ['a', 'b'].map((name) => ({ namespace: 'origin.test', name }));
    download.repositories.splice(0, 1, ...missing, demoRepository);
    expect(await Promise.all([run(0, 1), run(1, 1)])).toMatchObject([{ kind: 'done' }, { kind: 'done' }]);
    expect(download.repositories).toEqual([demoRepository]);
    expect([stored, origin.calls.length]).toEqual([[0, 1], 6]);
  });

  it('fails for good when no repository is known or none has the blob', async () => {
    const { run, download } = await setUp();
    download.addRepository({ namespace: 'origin.test', name: 'other' });
    expect(await run(0, 1)).toMatchObject({ kind: 'originFailed', isFinal: true });
    download.repositories.length = 0;
    expect(await run(0, 1)).toMatchObject({ kind: 'originFailed', isFinal: true });
  });

  it('is cancelled, not failed, when it is not needed any more', async () => {
    const abort = new AbortController();
    const { run, put } = await setUp({
      beforeCall: () => abort.abort(new DOMException('not needed', 'AbortError')),
    });
    put();
    expect(await run(0, 1, abort.signal)).toEqual({ kind: 'cancelled' });
  });

  it('does not hide an error that is not the origin’s', async () => {
    const { run, put } = await setUp({
      beforeCall: () => {
        throw new TypeError('a bug');
      },
    });
    put();
    await expect(run(0, 1)).rejects.toThrow('a bug');
  });
});
