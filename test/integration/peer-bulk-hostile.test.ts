import { connect as connectTcp, createServer as createTcpServer } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { generateCertificate } from '@libp2p/tls/utils';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import type { BulkClient, PieceRequest } from '../../src/peer/bulk.ts';
import type { PeerError } from '../../src/peer/errors.ts';
import { generateIdentity, type PeerIdentity } from '../../src/peer/identity.ts';
import { createBulkClient } from '../../src/peer/tls/bulk-client.ts';
import { formatTarget } from '../../src/peer/tls/bulk-request.ts';
import { startBulkServer } from '../../src/peer/tls/bulk-server.ts';
import { bulkProtocol, createCredentials, tlsOptions } from '../../src/peer/tls/certificate.ts';
import { packPieces, piecesHeader } from '../../src/peer/tls/piece-header.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { bulkClientOptions, bulkServerOptions } from '../support/bulk-options.ts';
import { MemoryPieceSource, makeBlob, type TestBlob } from '../support/memory-piece-source.ts';
import { patience } from '../support/patience.ts';

const { signal } = new AbortController();
const deps = { clock: systemClock, logger: silentLogger, metrics: noMetrics };

let identity: PeerIdentity;
let blob: TestBlob;
let stack: AsyncDisposableStack;
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  identity = await generateIdentity();
  blob = makeBlob(identity, 300_000, 3);
});
afterEach(() => stack.disposeAsync());

describe('bulk client against a hostile server', () => {
  let client: BulkClient;
  beforeEach(async () => {
    const options = { ...bulkClientOptions, headersTimeoutMs: 1_500, stallTimeoutMs: 1_500, dialTimeoutMs: 1_500 };
    client = stack.use(createBulkClient({ ...deps, identity: await generateIdentity() }, options));
  });

  /** A server with a true certificate that writes whatever it likes. */
  async function serve(
    answer: (socket: TLSSocket) => void,
    extra: { ALPNProtocols?: string[] } = {},
  ): Promise<PieceRequest> {
    const server = createServer({
      ...(await createCredentials(identity, systemClock)),
      ...tlsOptions,
      ALPNProtocols: [bulkProtocol],
      ...extra,
    });
    const sockets = new Set<TLSSocket>();
    server.on('secureConnection', (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.once('data', () => answer(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    stack.defer(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no address');
    return {
      peer: identity.peerId,
      address: { host: '127.0.0.1', port: address.port },
      blob: blob.key,
      first: 0,
      count: 1,
      onPiece: async () => {},
    };
  }

  function goodHead(changes: Record<string, string | undefined> = {}): string {
    const headers = {
      'content-length': `${blob.key.sizeBytes}`,
      'content-range': `bytes 0-${blob.key.sizeBytes - 1}/${blob.key.sizeBytes}`,
      [piecesHeader]: packPieces(blob.pieces.slice(0, 1)),
      ...changes,
    };
    const lines = Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [`${name}: ${value}\r\n`],
    );
    return `HTTP/1.1 206 Partial Content\r\n${lines.join('')}\r\n`;
  }

  it.each([
    ['no HTTP', () => 'SSH-2.0-OpenSSH\r\n\r\n'],
    ['an endless head', () => `HTTP/1.1 206 OK\r\n${'x: y\r\n'.repeat(4000)}`],
    ['another length', () => goodHead({ 'content-length': '999999999' })],
    ['no length', () => goodHead({ 'content-length': undefined })],
    ['another range', () => goodHead({ 'content-range': 'bytes 5-9/10' })],
    ['no signatures', () => goodHead({ [piecesHeader]: undefined })],
    ['broken signatures', () => goodHead({ [piecesHeader]: 'AAAA' })],
    ['signatures of more pieces', () => goodHead({ [piecesHeader]: packPieces([blob.pieces[0]!, blob.pieces[0]!]) })],
    ['a chunked body', () => goodHead({ 'transfer-encoding': 'chunked' })],
    ['a status nobody knows', () => 'HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1/\r\ncontent-length: 0\r\n\r\n'],
  ])('answers %s with PEER_PROTOCOL', async (_case, head) => {
    const request = await serve((socket) => socket.write(head()));
    await expect(client.fetchPieces(request, signal)).rejects.toMatchObject({ code: 'PEER_PROTOCOL' });
  });

  it('takes no more of an endless body than was asked for, and closes', async () => {
    const closed = Promise.withResolvers<void>();
    const request = await serve((socket) => {
      socket.once('close', closed.resolve);
      socket.write(goodHead());
      const junk = Buffer.alloc(64 * 1024);
      const more = () => {
        if (!socket.destroyed) socket.write(junk, more);
      };
      more();
    });
    let pieces = 0;
    const onPiece = async () => {
      pieces += 1;
    };
    const breach = Promise.withResolvers<unknown>();
    // The surplus may come with the last piece or after it; the pieces before it are as good as any.
    client.fetchPieces({ ...request, onPiece, onBreach: breach.resolve }, signal).catch(breach.resolve);
    const evidence = expect.stringMatching(
      /^asked for bytes 0-299999 of sha256:\w+, went on behind them with 0x(00)+$/,
    );
    expect(await breach.promise).toMatchObject({ code: 'PEER_PROTOCOL', details: { evidence } });
    expect(pieces).toBe(1);
    await closed.promise;
  });

  it('holds nothing against a peer that says something in HTTP while the connection rests', async () => {
    const closed = Promise.withResolvers<void>();
    const sockets: TLSSocket[] = [];
    const request = await serve((socket) => {
      sockets.push(socket);
      socket.once('close', closed.resolve);
      socket.write(goodHead());
      socket.write(blob.bytes);
    });
    let breaches = 0;
    const onBreach = () => {
      breaches += 1;
    };
    await client.fetchPieces({ ...request, onBreach }, signal);
    sockets[0]!.write('HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n');
    await closed.promise;
    expect(breaches).toBe(0);
  });

  it('has evidence against who does not speak HTTP, and none against who may speak another version of it', async () => {
    const detailsOf = async (answer: string) => {
      const request = await serve((socket) => socket.write(answer));
      const failure: unknown = await client.fetchPieces(request, signal).catch((error: unknown) => error);
      return (failure as PeerError).details;
    };
    const evidence = expect.stringContaining('the answer begins with 0x5353482d322e30');
    expect(await detailsOf('SSH-2.0-OpenSSH\r\n\r\n')).toMatchObject({ evidence });
    expect(await detailsOf('HTTP/1.1 207 New\r\ncontent-length: 0\r\n\r\n')).not.toHaveProperty('evidence');
    expect(await detailsOf(goodHead({ [piecesHeader]: 'AAAA' }))).not.toHaveProperty('evidence');
    expect(await detailsOf('HTTP/1.1 206 OK\r\na: b\r\na: b\r\n\r\n')).not.toHaveProperty('evidence');
  });

  it('says PEER_CUT when the body ends early', async () => {
    const request = await serve((socket) => {
      socket.write(goodHead());
      socket.end(Buffer.alloc(1000));
    });
    await expect(client.fetchPieces(request, signal)).rejects.toMatchObject({
      code: 'PEER_CUT',
      details: { receivedBytes: 1000 },
    });
  });

  it('says PEER_STALLED in head and body', async () => {
    const silent = await serve(() => {});
    await expect(client.fetchPieces(silent, signal)).rejects.toMatchObject({ details: { stage: 'headers' } });
    const stuck = await serve((socket) => socket.write(goodHead() + 'x'.repeat(100)));
    await expect(client.fetchPieces(stuck, signal)).rejects.toMatchObject({
      code: 'PEER_STALLED',
      details: { stage: 'body' },
    });
  });

  it('says PEER_STALLED when there is no handshake', async () => {
    const server = createTcpServer(() => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    stack.defer(() => void server.close());
    const { port } = server.address() as { port: number };
    const request = { ...(await serve(() => {})), address: { host: '127.0.0.1', port } };
    await expect(client.fetchPieces(request, signal)).rejects.toMatchObject({
      code: 'PEER_STALLED',
      details: { stage: 'dial' },
    });
  });

  it('refuses a server of another protocol', async () => {
    const request = await serve((socket) => socket.write(goodHead()), { ALPNProtocols: ['http/1.1'] });
    const failure = await client.fetchPieces(request, signal).catch((error: unknown) => error);
    expect(['PEER_UNTRUSTED', 'PEER_UNREACHABLE']).toContain((failure as { code: string }).code);
  });

  it('asks again on a new connection when a kept one is closed under its hands', async () => {
    let requests = 0;
    const request = await serve((socket) => {
      requests += 1;
      socket.write(goodHead());
      socket.write(blob.bytes);
      socket.once('data', () => {
        requests += 1;
        socket.destroy();
      });
    });
    await client.fetchPieces(request, signal);
    await client.fetchPieces(request, signal);
    expect(requests).toBe(3);
  });
});

describe('bulk server against hostile clients', () => {
  let source: MemoryPieceSource;
  beforeEach(() => {
    source = new MemoryPieceSource();
    source.add(blob);
  });

  async function start(changes: Partial<typeof bulkServerOptions> = {}) {
    const server = await startBulkServer(
      { ...deps, identity, source, isMember: () => true },
      { ...bulkServerOptions, ...changes },
    );
    stack.use(server);
    return server.address;
  }

  async function open(port: number, credentials?: { cert: string; key: string }): Promise<TLSSocket> {
    const proof = credentials ?? (await createCredentials(await generateIdentity(), systemClock));
    const socket = connect({
      host: '127.0.0.1',
      port,
      ...proof,
      rejectUnauthorized: false,
      ALPNProtocols: [bulkProtocol],
    });
    stack.defer(() => void socket.destroy());
    socket.on('error', () => {});
    await new Promise<void>((resolve) => socket.once('secureConnect', resolve));
    return socket;
  }

  const closed = (socket: TLSSocket) =>
    new Promise<string>((resolve) => {
      let text = '';
      socket.on('data', (data) => {
        text += data.toString('latin1');
      });
      socket.on('close', () => resolve(text));
    });

  const firstLine = async (socket: TLSSocket) =>
    new Promise<string>((resolve) =>
      socket.once('data', (data) => resolve(data.toString('latin1').split('\r\n')[0] ?? '')),
    );

  it('refuses a client without a certificate before reading HTTP', async () => {
    const { port } = await start();
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: [bulkProtocol] });
    stack.defer(() => void socket.destroy());
    socket.on('error', () => {});
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(await closed(socket)).toBe('');
  });

  it('refuses a client that claims the peer ID of another', async () => {
    const { port } = await start();
    const victim = (await generateIdentity()).libp2pKey;
    const forged = {
      ...victim,
      type: victim.type,
      publicKey: victim.publicKey,
      sign: async () => new Uint8Array(64).fill(7),
    };
    const socket = await open(port, await generateCertificate(forged as typeof victim));
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(await closed(socket)).toBe('');
  });

  it.each([
    ['a path outside', 'GET /v1/../etc HTTP/1.1', '400'],
    ['an unknown digest form', 'GET /v1/blobs/sha256:zz?first=0&count=1 HTTP/1.1', '400'],
    ['a method it does not have', 'POST / HTTP/1.1', '405'],
    ['a head that is too long', `GET /${'x'.repeat(9000)} HTTP/1.1`, '431'],
  ])('answers %s', async (_case, line, status) => {
    const { port } = await start();
    const socket = await open(port);
    socket.write(`${line}\r\nHost: x\r\n\r\n`);
    expect(await firstLine(socket)).toContain(status);
    expect(source.opened).toBe(0);
  });

  it('answers too many pieces and a range that is not theirs', async () => {
    const { port } = await start();
    const socket = await open(port);
    socket.write(`GET ${formatTarget({ digest: blob.key.digest, first: 0, count: 17 })} HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(await firstLine(socket)).toContain('400');
    const target = formatTarget({ digest: blob.key.digest, first: 0, count: 1 });
    socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\nRange: bytes=1-5\r\n\r\n`);
    expect(await firstLine(socket)).toContain('416');
    expect(source.openRuns).toBe(0);
  });

  it('cuts a client that sends its head drop by drop', async () => {
    const { port } = await start({ headersTimeoutMs: 200 });
    const socket = await open(port);
    socket.write('GET / HT');
    expect(await closed(socket)).toMatch(/^$|408/);
  });

  it('cuts a client that opens TCP and no TLS', async () => {
    const { port } = await start({ handshakeTimeoutMs: 200 });
    const socket = connectTcp({ host: '127.0.0.1', port });
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once('close', resolve));
  });

  it('cuts a client that takes no bytes and gives the slot back', async () => {
    const big = makeBlob(identity, 12 * 1024 * 1024, 4);
    source.add(big);
    const { port } = await start({ stallTimeoutMs: 200 });
    const socket = await open(port);
    socket.pause();
    socket.write(`GET ${formatTarget({ digest: big.key.digest, first: 5, count: 16 })} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await vi.waitFor(() => expect(source.openRuns).toBe(1), patience);
    await vi.waitFor(() => expect(source.openRuns).toBe(0), patience);
    expect(source.releasedBytes[0]).toBeLessThan(8 * 1024 * 1024);
  });

  it('tells a peer with too many requests to come later', async () => {
    const { port } = await start({ maxRequestsPerPeer: 1 });
    source.beforeOpen = (aborted) =>
      new Promise((_, reject) => aborted.addEventListener('abort', () => reject(aborted.reason)));
    const proof = await createCredentials(await generateIdentity(), systemClock);
    const [one, two] = [await open(port, proof), await open(port, proof)];
    const line = `GET ${formatTarget({ digest: blob.key.digest, first: 0, count: 1 })} HTTP/1.1\r\nHost: x\r\n\r\n`;
    one.write(line);
    await vi.waitFor(() => expect(source.opened).toBe(1), patience);
    two.write(line);
    const answer = await new Promise<string>((resolve) => two.once('data', (data) => resolve(data.toString('latin1'))));
    expect(answer).toContain('503');
    expect(answer.toLowerCase()).toContain('shoal-retry-after-ms: 250');
    one.destroy();
  });
});
