import { connect as connectTcp } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { PeerId } from '../../src/content/peer-id.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { generateIdentity, type PeerIdentity } from '../../src/peer/identity.ts';
import { createBulkClient } from '../../src/peer/tls/bulk-client.ts';
import { formatTarget } from '../../src/peer/tls/bulk-request.ts';
import { type BulkServer, type BulkServerDeps, startBulkServer } from '../../src/peer/tls/bulk-server.ts';
import { bulkProtocol, createCredentials } from '../../src/peer/tls/certificate.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { bulkClientOptions, bulkServerOptions } from '../support/bulk-options.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MemoryPieceSource, makeBlob, type TestBlob } from '../support/memory-piece-source.ts';
import { patience } from '../support/patience.ts';

const never = () => new Promise<never>(() => {});
const otherProtocol = 'shoal-other/1';
const { signal } = new AbortController();
const deps = { clock: systemClock, logger: silentLogger, metrics: noMetrics };

let identity: PeerIdentity;
let member: PeerIdentity;
let blob: TestBlob;
let source: MemoryPieceSource;
let stack: AsyncDisposableStack;
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  identity ??= await generateIdentity();
  member ??= await generateIdentity();
  blob ??= makeBlob(identity, 8 * 1024 * 1024, 3);
  source = new MemoryPieceSource();
  source.add(blob);
});
afterEach(() => stack.disposeAsync());

async function start(
  changes: Partial<typeof bulkServerOptions> = {},
  extra: Partial<BulkServerDeps> = {},
): Promise<BulkServer> {
  const isMember = () => true;
  return stack.use(
    await startBulkServer({ ...deps, identity, source, isMember, ...extra }, { ...bulkServerOptions, ...changes }),
  );
}

interface OpenOptions {
  readonly ALPNProtocols?: string[];
  readonly allowHalfOpen?: boolean;
  readonly cert?: string;
  readonly key?: string;
}

async function open(server: BulkServer, options: OpenOptions = { ALPNProtocols: [bulkProtocol] }) {
  const credentials = await createCredentials(member, systemClock);
  const socket = connect({ ...server.address, ...credentials, rejectUnauthorized: false, ...options });
  stack.defer(() => void socket.destroy());
  socket.on('error', () => {});
  const received: Buffer[] = [];
  let isClosed = false;
  socket.on('data', (bytes: Buffer) => received.push(bytes));
  socket.on('close', () => {
    isClosed = true;
  });
  await new Promise<void>((resolve) => socket.once('secureConnect', resolve));
  const text = () => Buffer.concat(received).toString('latin1');
  return {
    socket,
    text,
    statuses: () => [...text().matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status)),
    untilClosed: () => vi.waitFor(() => expect(isClosed).toBe(true), patience),
  };
}

const get = (first: number, count = 1, headers = '') =>
  `GET ${formatTarget({ digest: blob.key.digest, first, count })} HTTP/1.1\r\nHost: shoal\r\n${headers}\r\n`;

describe('HTTP on TLS', () => {
  it('answers requests in order that came at once and in parts, with and without ALPN', async () => {
    const server = await start();
    for (const options of [{ ALPNProtocols: [bulkProtocol] }, {}]) {
      const client = await open(server, options);
      const text = get(5, 3) + get(999) + get(0, 2);
      client.socket.write(text.slice(0, 40));
      await vi.waitFor(() => expect(client.socket.writableLength).toBe(0), patience);
      client.socket.write(text.slice(40));
      await vi.waitFor(() => expect(client.statuses()).toEqual([206, 404, 206]), patience);
      await vi.waitFor(
        () => expect(client.text().endsWith(blob.bytes.toString('latin1', 0, 131_072))).toBe(true),
        patience,
      );
      expect(client.text().includes(blob.bytes.toString('latin1', 2 ** 20, 2 ** 20 + 3 * 2 ** 19))).toBe(true);
    }
    expect(source.openRuns).toBe(0);
  });

  it.each([
    ['a body', () => get(0, 1, 'Content-Length: 9000\r\n') + 'x'.repeat(9000), 400],
    ['a body in chunks', () => `${get(0, 1, 'Transfer-Encoding: chunked\r\n')}5\r\nhello\r\n0\r\n\r\n`, 400],
    ['HTTP/1.0', () => get(0).replace('HTTP/1.1', 'HTTP/1.0'), 400],
    ['a head that is too long', () => get(0, 1, `A: ${'x'.repeat(5000)}\r\n`), 431],
  ])('refuses %s and closes', async (_case, text, status) => {
    const client = await open(await start());
    client.socket.write(text());
    await client.untilClosed();
    expect(client.statuses()).toEqual([status]);
    expect(client.text()).toContain('\r\nConnection: close\r\n');
    expect(source.opened).toBe(0);
  });

  it.each([
    ['disappears', (socket: TLSSocket) => socket.destroy()],
    ['closes its half', (socket: TLSSocket) => socket.end()],
  ])('cuts the run of a peer that %s, and gives the slot back once', async (_case, leave) => {
    const server = await start({ maxRequests: 1 });
    source.read = async (held, target, position) => {
      if (position >= 2 ** 21) return never();
      return held.bytes.copy(target, 0, position, position + target.length);
    };
    const client = await open(server, { ALPNProtocols: [bulkProtocol], allowHalfOpen: true });
    client.socket.write(get(5, 8));
    await vi.waitFor(() => expect(client.text().length).toBeGreaterThan(2 ** 20), patience);
    leave(client.socket);
    await vi.waitFor(() => expect(source.releasedBytes).toHaveLength(1), patience);
    await client.untilClosed();
    const next = await open(server);
    next.socket.write(get(0));
    await vi.waitFor(() => expect(source.releasedBytes).toHaveLength(2), patience);
    expect(source.releasedBytes[1]).toBe(65_536);
    expect(source.openRuns).toBe(0);
  });

  it('closes a connection that rests beside another of the same peer, on the clock it was given', async () => {
    const clock = new FakeClock(Date.now());
    const server = await start({}, { clock });
    const older = await open(server);
    const client = await open(server);
    client.socket.write(get(0));
    await vi.waitFor(() => expect(source.releasedBytes).toHaveLength(1), patience);
    await vi.waitFor(() => expect(client.text().length).toBeGreaterThan(65_536), patience);
    clock.advance(59_000);
    client.socket.write(get(0));
    await vi.waitFor(() => expect(source.releasedBytes).toHaveLength(2), patience);
    clock.advance(65_000);
    await client.untilClosed();
    expect(client.statuses()).toEqual([206, 206]);
    expect(older.socket.destroyed).toBe(false);
    older.socket.destroy();
    // Nothing is left to be checked.
    await vi.waitFor(() => {
      clock.advance(10_000);
      expect(clock.pending).toBe(0);
    }, patience);
  });

  it('stops in the middle of runs and of handshakes, and gives all slots back', async () => {
    const server = await start();
    source.read = never;
    const clients = [await open(server), await open(server)];
    for (const { socket } of clients) socket.write(get(0));
    const silent = connectTcp(server.address);
    stack.defer(() => void silent.destroy());
    const silentClosed = new Promise((resolve) => silent.once('close', resolve));
    silent.on('error', () => {});
    await new Promise<void>((resolve) => silent.once('connect', resolve));
    await vi.waitFor(() => expect(source.openRuns).toBe(2), patience);
    await server[Symbol.asyncDispose]();
    expect(source.releasedBytes).toEqual([0, 0]);
    await Promise.all([silentClosed, ...clients.map((client) => client.untilClosed())]);
  });
});

describe('other protocols on the same port', () => {
  it('are handed sockets of proven peers of which nothing has been read', async () => {
    const taken: { socket: TLSSocket; peer: PeerId; listeners: number; flowing: boolean | null }[] = [];
    const take = (socket: TLSSocket, peer: PeerId) => {
      const listeners = socket.listenerCount('data') + socket.listenerCount('readable');
      taken.push({ socket, peer, listeners, flowing: socket.readableFlowing });
    };
    const server = await start({}, { protocols: new Map([[otherProtocol, take]]) });
    const client = await open(server, { ALPNProtocols: [otherProtocol] });
    expect(client.socket.alpnProtocol).toBe(otherProtocol);
    client.socket.write('no HTTP at all\n\n');
    await vi.waitFor(() => expect(taken).toHaveLength(1), patience);
    expect(taken[0]).toMatchObject({ peer: member.peerId, listeners: 0, flowing: null });
    const heard = new Promise((resolve) => taken[0]?.socket.once('data', (bytes: Buffer) => resolve(bytes.toString())));
    expect(await heard).toBe('no HTTP at all\n\n');
    taken[0]?.socket.write('HTTP neither');
    await vi.waitFor(() => expect(client.text()).toBe('HTTP neither'), patience);

    const bulk = stack.use(createBulkClient({ ...deps, identity: member }, bulkClientOptions));
    const onPiece = async () => {};
    const request = { peer: identity.peerId, address: server.address, blob: blob.key, first: 0, count: 2, onPiece };
    await bulk.fetchPieces(request, signal);
    await server[Symbol.asyncDispose]();
    await client.untilClosed();
    expect(taken).toHaveLength(1);
  });

  it('are handed no socket without a proof, and lose one that they fail to take', async () => {
    const take = vi.fn(() => {
      throw new Error('not today');
    });
    const server = await start({}, { protocols: new Map([[otherProtocol, take]]) });
    const nobody = connect({ ...server.address, rejectUnauthorized: false, ALPNProtocols: [otherProtocol] });
    stack.defer(() => void nobody.destroy());
    nobody.on('error', () => {});
    await new Promise((resolve) => nobody.once('close', resolve));
    expect(take).not.toHaveBeenCalled();
    await (await open(server, { ALPNProtocols: [otherProtocol] })).untilClosed();
    expect(take).toHaveBeenCalledTimes(1);
  });

  it('count as connections like all others', async () => {
    const take = vi.fn();
    const server = await start({ maxConnections: 1 }, { protocols: new Map([[otherProtocol, take]]) });
    const first = await open(server, { ALPNProtocols: [otherProtocol] });
    const second = connectTcp(server.address);
    stack.defer(() => void second.destroy());
    second.on('error', () => {});
    await new Promise((resolve) => second.once('close', resolve));
    expect(first.socket.destroyed).toBe(false);
    expect(take).toHaveBeenCalledTimes(1);
  });
});
