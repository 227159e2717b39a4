import { connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { PeerId } from '../../src/content/peer-id.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import type { BulkAddress } from '../../src/peer/bulk.ts';
import { generateIdentity, type PeerIdentity } from '../../src/peer/identity.ts';
import { type BulkClientOptions, createBulkClient } from '../../src/peer/tls/bulk-client.ts';
import { startBulkServer } from '../../src/peer/tls/bulk-server.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { bulkClientOptions, bulkServerOptions } from '../support/bulk-options.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MemoryPieceSource, makeBlob, type TestBlob } from '../support/memory-piece-source.ts';
import { patience } from '../support/patience.ts';

const { signal } = new AbortController();
const deps = { clock: systemClock, logger: silentLogger, metrics: noMetrics };

let identity: PeerIdentity;
let blob: TestBlob;
let stack: AsyncDisposableStack;
let server: BulkAddress;
let serverClock: FakeClock;
let members: Set<PeerId>;
beforeEach(async () => {
  serverClock = new FakeClock(Date.now());
  members = new Set();
  stack = new AsyncDisposableStack();
  identity = await generateIdentity();
  blob = makeBlob(identity, 1024 * 1024, 3);
  const source = new MemoryPieceSource();
  source.add(blob);
  const isMember = (peer: PeerId) => members.has(peer);
  const serverDeps = { ...deps, clock: serverClock, identity, source, isMember };
  server = stack.use(await startBulkServer(serverDeps, bulkServerOptions)).address;
});
afterEach(() => stack.disposeAsync());

async function generateMember(): Promise<PeerIdentity> {
  const member = await generateIdentity();
  members.add(member.peerId);
  return member;
}

/** A way to the server that shows its connections; the first of them can be held, all others are let through. */
async function startGate({ holdsFirst } = { holdsFirst: true }) {
  const accepted: Socket[] = [];
  const gate = createServer((socket) => {
    socket.on('error', () => {});
    accepted.push(socket);
    if (holdsFirst && accepted.length === 1) return;
    const onward = connect(server.port, server.host);
    onward.on('error', () => {});
    socket.pipe(onward).pipe(socket);
    socket.on('close', () => onward.destroy());
    onward.on('close', () => socket.destroy());
  });
  await new Promise<void>((resolve) => gate.listen(0, '127.0.0.1', resolve));
  stack.defer(() => {
    for (const socket of accepted) socket.destroy();
    gate.close();
  });
  return { address: { host: '127.0.0.1', port: (gate.address() as { port: number }).port }, accepted };
}

describe('a connection that is being made beforehand', () => {
  it('is replaced by another when it breaks while fetches wait for it', async () => {
    const gate = await startGate();
    const client = stack.use(createBulkClient({ ...deps, identity: await generateMember() }, bulkClientOptions));
    client.prepare(identity.peerId, gate.address);
    await vi.waitFor(() => expect(gate.accepted).toHaveLength(1), patience);
    const request = { peer: identity.peerId, address: gate.address, blob: blob.key, first: 0, count: 1 };
    const fetches = [0, 1].map(() => client.fetchPieces({ ...request, onPiece: async () => {} }, signal));
    gate.accepted[0]?.resetAndDestroy();
    await Promise.all(fetches);
    expect(gate.accepted).toHaveLength(3);
  });

  it('is the only attempt when nobody answers in time, so that a fetch does not wait twice', async () => {
    const gate = await startGate();
    const clock = new FakeClock(Date.now());
    const own = { ...deps, clock, identity: await generateMember() };
    const client = stack.use(createBulkClient(own, bulkClientOptions));
    client.prepare(identity.peerId, gate.address);
    await vi.waitFor(() => expect(gate.accepted).toHaveLength(1), patience);
    const request = { peer: identity.peerId, address: gate.address, blob: blob.key, first: 0, count: 1 };
    const fetch = client.fetchPieces({ ...request, onPiece: async () => {} }, signal);
    const refused = expect(fetch).rejects.toMatchObject({ code: 'PEER_STALLED' });
    clock.advance(bulkClientOptions.dialTimeoutMs);
    await refused;
    expect(gate.accepted).toHaveLength(1);
  });
});

describe('a connection that nothing is asked on', () => {
  /** A client with two connections through a gate, both at rest. */
  async function startTwo(changes: Partial<BulkClientOptions>) {
    const gate = await startGate({ holdsFirst: false });
    const clock = new FakeClock(Date.now());
    const member = await generateMember();
    const own = { ...deps, clock, identity: member };
    const client = stack.use(createBulkClient(own, { ...bulkClientOptions, ...changes }));
    const fetchTwo = async () => {
      const request = { peer: identity.peerId, address: gate.address, blob: blob.key, first: 0, count: 1 };
      const both = Promise.withResolvers<void>();
      let begun = 0;
      const onPiece = async () => {
        begun += 1;
        if (begun === 2) both.resolve();
        await both.promise;
      };
      await Promise.all([0, 1].map(() => client.fetchPieces({ ...request, onPiece }, signal)));
    };
    await fetchTwo();
    expect(gate.accepted).toHaveLength(2);
    const open = () => gate.accepted.map(({ destroyed }) => !destroyed);
    return { gate, clock, fetchTwo, open, member };
  }

  it('is kept when it is the first to its peer, and closed after a while when it is not', async () => {
    const { gate, clock, fetchTwo, open } = await startTwo({});
    clock.advance(bulkClientOptions.idleMs);
    await vi.waitFor(() => expect(open().filter(Boolean)).toHaveLength(1), patience);
    clock.advance(1000 * bulkClientOptions.idleMs);
    await serverClock.advanceAsync(10 * bulkServerOptions.keepAliveMs);
    await fetchTwo();
    expect(gate.accepted).toHaveLength(3);
  });

  it('is closed too when as many are kept as may be', async () => {
    const { clock, open } = await startTwo({ maxKeptConnections: 0 });
    clock.advance(bulkClientOptions.idleMs);
    await vi.waitFor(() => expect(open()).toEqual([false, false]), patience);
  });

  it('is closed by the server when the peer has another, or is no member any more', async () => {
    const { open, member } = await startTwo({ idleMs: 1_000_000_000 });
    await serverClock.advanceAsync(1.25 * bulkServerOptions.keepAliveMs);
    await vi.waitFor(() => expect(open().filter(Boolean)).toHaveLength(1), patience);
    members.delete(member.peerId);
    await serverClock.advanceAsync(1.25 * bulkServerOptions.keepAliveMs);
    await vi.waitFor(() => expect(open()).toEqual([false, false]), patience);
  });
});
