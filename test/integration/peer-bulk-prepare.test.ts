import { connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import type { BulkAddress } from '../../src/peer/bulk.ts';
import { generateIdentity, type PeerIdentity } from '../../src/peer/identity.ts';
import { createBulkClient } from '../../src/peer/tls/bulk-client.ts';
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
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  identity = await generateIdentity();
  blob = makeBlob(identity, 1024 * 1024, 3);
  const source = new MemoryPieceSource();
  source.add(blob);
  const isMember = () => true;
  server = stack.use(await startBulkServer({ ...deps, identity, source, isMember }, bulkServerOptions)).address;
});
afterEach(() => stack.disposeAsync());

/** A way to the server whose first connection is held; all others are let through. */
async function startGate() {
  const accepted: Socket[] = [];
  const gate = createServer((socket) => {
    socket.on('error', () => {});
    accepted.push(socket);
    if (accepted.length === 1) return;
    const onward = connect(server.port, server.host);
    onward.on('error', () => {});
    socket.pipe(onward).pipe(socket);
    socket.on('close', () => onward.destroy());
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
    const client = stack.use(createBulkClient({ ...deps, identity: await generateIdentity() }, bulkClientOptions));
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
    const own = { ...deps, clock, identity: await generateIdentity() };
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
