import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { pieceHash } from '../../src/content/piece-hash.ts';
import { isSignatureValid } from '../../src/content/signed-piece.ts';
import { digestOf } from '../../src/oci/digest.ts';
import type { BulkClient, PieceRequest } from '../../src/peer/bulk.ts';
import { PeerError } from '../../src/peer/errors.ts';
import { generateIdentity, type PeerIdentity } from '../../src/peer/identity.ts';
import { type BulkKit, type BulkKitOptions, createMemoryBulkKit, createTlsBulkKit } from '../support/bulk-kits.ts';
import { MemoryPieceSource, makeBlob, type TestBlob } from '../support/memory-piece-source.ts';
import { patience } from '../support/patience.ts';

const never = () => new Promise<never>(() => {});

describe.each([
  ['memory', createMemoryBulkKit],
  ['TLS', createTlsBulkKit],
])('BulkClient on %s', (_name, createKit) => {
  const { signal } = new AbortController();
  let server: PeerIdentity;
  let stranger: PeerIdentity;
  let member: PeerIdentity;
  let blob: TestBlob;
  let source: MemoryPieceSource;
  let kit: BulkKit;
  let client: BulkClient;

  beforeEach(async () => {
    [server, member, stranger] = [await generateIdentity(), await generateIdentity(), await generateIdentity()];
    blob = makeBlob(server, 5 * 1024 * 1024 + 12_345, 7);
    source = new MemoryPieceSource();
    source.add(blob);
    await start({});
  });
  afterEach(() => kit[Symbol.asyncDispose]());

  async function start(options: Partial<BulkKitOptions>): Promise<void> {
    await kit?.[Symbol.asyncDispose]();
    const isMember = (peer: string) => peer !== stranger.peerId;
    kit = await createKit({ server, clients: [member, stranger], source, isMember, ...options });
    client = kit.createClient(member);
  }

  function request(changes: Partial<PieceRequest> = {}): PieceRequest {
    const { peerId: peer } = server;
    return { peer, address: kit.address, blob: blob.key, first: 0, count: 1, onPiece: async () => {}, ...changes };
  }

  it('serves on a connection that was made beforehand, and without one that could not be', async () => {
    client.prepare(server.peerId, kit.address);
    client.prepare(server.peerId, kit.address);
    client.prepare(stranger.peerId, kit.address);
    await Promise.all([client.fetchPieces(request(), signal), client.fetchPieces(request(), signal)]);
    await expect(client.fetchPieces(request({ peer: stranger.peerId }), signal)).rejects.toMatchObject({
      code: 'PEER_UNTRUSTED',
    });
    await kit.stopServer();
    client.prepare(server.peerId, kit.address);
    await expect(client.fetchPieces(request(), signal)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });

  it('gives the pieces of a run in order, with valid signatures and true bytes', async () => {
    const indexes: number[] = [];
    let progress = 0;
    const count = Math.min(blob.pieces.length, 16);
    const parts: Buffer[] = [];
    const heads: number[] = [];
    await client.fetchPieces(
      request({
        count,
        async onPiece(piece, bytes) {
          indexes.push(piece.index);
          parts.push(Buffer.from(bytes));
          expect(Buffer.compare(pieceHash(bytes), piece.hash)).toBe(0);
          expect(isSignatureValid(blob.key, piece)).toBe(true);
        },
        onHead() {
          heads.push(progress);
        },
        onProgress(bytes) {
          progress += bytes;
        },
      }),
      signal,
    );
    expect(heads).toEqual([0]);
    expect(indexes).toEqual(Array.from({ length: count }, (_, index) => index));
    expect(progress).toBe(blob.key.sizeBytes);
    expect(Buffer.compare(Buffer.concat(parts), blob.bytes)).toBe(0);
    await vi.waitFor(() => expect(source.openRuns).toBe(0), patience);
    expect(source.releasedBytes).toEqual([blob.key.sizeBytes]);
  });

  it('gives the short last piece alone', async () => {
    const last = blob.pieces.length - 1;
    let length = 0;
    await client.fetchPieces(
      request({
        first: last,
        onPiece: async (_piece, bytes) => {
          length = bytes.length;
        },
      }),
      signal,
    );
    expect(length).toBe(blob.key.sizeBytes % (512 * 1024));
  });

  it('awaits each piece before the next', async () => {
    let inside = 0;
    let most = 0;
    await client.fetchPieces(
      request({
        count: 6,
        async onPiece() {
          inside += 1;
          most = Math.max(most, inside);
          await new Promise((resolve) => setImmediate(resolve));
          inside -= 1;
        },
      }),
      signal,
    );
    expect(most).toBe(1);
  });

  it('serves many runs at once and again on kept connections', async () => {
    for (let round = 0; round < 2; round += 1) {
      const runs = Array.from({ length: 8 }, async (_, at) => {
        let bytes = 0;
        await client.fetchPieces(
          request({
            first: at,
            onPiece: async (_piece, part) => {
              bytes += part.length;
            },
          }),
          signal,
        );
        return bytes;
      });
      expect((await Promise.all(runs)).every((bytes) => bytes > 0)).toBe(true);
    }
    await vi.waitFor(() => expect(source.openRuns).toBe(0), patience);
  });

  it('says that the peer does not hold the blob', async () => {
    const other = { digest: digestOf(Buffer.from('other')), sizeBytes: 10 };
    await expect(client.fetchPieces(request({ blob: other }), signal)).rejects.toMatchObject({ code: 'PEER_ABSENT' });
    await client.fetchPieces(request(), signal);
  });

  it('says that the peer is busy and for how long', async () => {
    source.beforeOpen = async () => {
      throw new PeerError('PEER_BUSY', 'full', { details: { retryAfterMs: 120 } });
    };
    await expect(client.fetchPieces(request(), signal)).rejects.toMatchObject({
      code: 'PEER_BUSY',
      details: { retryAfterMs: 120 },
    });
  });

  it('says that a stranger is not served, and that the peer is not the one asked for', async () => {
    const refused = kit.createClient(stranger).fetchPieces(request(), signal);
    await expect(refused).rejects.toMatchObject({ code: 'PEER_UNTRUSTED' });
    const mistaken = client.fetchPieces(request({ peer: stranger.peerId }), signal);
    await expect(mistaken).rejects.toMatchObject({ code: 'PEER_UNTRUSTED' });
    expect(source.opened).toBe(0);
  });

  it('says that nobody is there', async () => {
    await kit.stopServer();
    await expect(client.fetchPieces(request(), signal)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });

  it('says that the peer was cut when its source fails in the middle', async () => {
    source.read = async (held, target, position) => {
      if (position > 1024 * 1024) throw new Error('disk on fire');
      return held.bytes.copy(target, 0, position, position + target.length);
    };
    await expect(client.fetchPieces(request({ count: 10 }), signal)).rejects.toMatchObject({ code: 'PEER_CUT' });
    await vi.waitFor(() => expect(source.openRuns).toBe(0), patience);
  });

  it('says that the peer was cut when its server stops in the middle', async () => {
    source.read = async (held, target, position) => {
      if (position > 1024 * 1024) {
        void kit.stopServer();
        await never();
      }
      return held.bytes.copy(target, 0, position, position + target.length);
    };
    await expect(client.fetchPieces(request({ count: 10 }), signal)).rejects.toMatchObject({ code: 'PEER_CUT' });
  });

  it('says where the peer stalls', async () => {
    await start({ stallMs: 1_500 });
    source.beforeOpen = never;
    await expect(client.fetchPieces(request(), signal)).rejects.toMatchObject({
      code: 'PEER_STALLED',
      details: { stage: 'headers' },
    });
    source.beforeOpen = undefined;
    source.read = never;
    await expect(client.fetchPieces(request(), signal)).rejects.toMatchObject({
      code: 'PEER_STALLED',
      details: { stage: 'body' },
    });
  });

  it('ends at once on abort and gives the slot back', async () => {
    const controller = new AbortController();
    source.read = async (held, target, position) => {
      if (position > 1024 * 1024) controller.abort(new Error('enough'));
      return held.bytes.copy(target, 0, position, position + target.length);
    };
    await expect(client.fetchPieces(request({ count: 10 }), controller.signal)).rejects.toThrow('enough');
    await vi.waitFor(() => expect(source.openRuns).toBe(0), patience);
    const aborted = client.fetchPieces(request(), controller.signal);
    await expect(aborted).rejects.toThrow('enough');
  });

  it('ends when the consumer fails, with its error', async () => {
    const failing = request({
      count: 10,
      async onPiece(piece) {
        if (piece.index === 2) throw new Error('cannot store');
      },
    });
    await expect(client.fetchPieces(failing, signal)).rejects.toThrow('cannot store');
    await vi.waitFor(() => expect(source.openRuns).toBe(0), patience);
  });
});
