import { get, type IncomingMessage } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { planPieces } from '../../src/content/piece-plan.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { OriginError } from '../../src/origin/errors.ts';
import type { MemoryOriginOptions } from '../../src/origin/memory/memory-origin.ts';
import { buildGeneratedBlob } from '../support/image-builder.ts';
import { createMemoryFleet, eventually, type MemoryFleet, type MemoryNode } from '../support/image-fleet.ts';
import { type RegistryKit, startRegistryKit } from '../support/registry-kit.ts';

const repository = { namespace: 'docker.io', name: 'g/r' };
const MiB = 1024 * 1024;
const blob = buildGeneratedBlob(1, 12 * MiB + 5);
const path = `/v2/g/r/blobs/${blob.digest}`;

describe('blobs on their way', () => {
  let fleet: MemoryFleet;
  let node: MemoryNode;
  let kit: RegistryKit;
  const start = async (origin: MemoryOriginOptions = {}, options: Parameters<typeof startRegistryKit>[1] = {}) => {
    fleet = createMemoryFleet({ origin });
    fleet.origin.putBlob(repository, blob);
    node = await fleet.join();
    kit = await startRegistryKit(node.images, options);
  };
  afterEach(async () => {
    await kit[Symbol.asyncDispose]();
    await fleet[Symbol.asyncDispose]();
  });
  const bodies = () => fleet.origin.calls.filter(({ operation }) => operation === 'openBlob').length;
  const begin = (headers: Record<string, string> = {}): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const { host, port } = kit.registry.address;
      get({ host, port, path, headers, agent: false }, resolve).on('error', reject);
    });

  it('gives ten concurrent cold GETs one origin body', async () => {
    await start();
    const answers = await Promise.all(Array.from({ length: 10 }, () => kit.ask('GET', path)));
    for (const { status, body } of answers) {
      expect(status).toBe(200);
      expect(digestOf(body)).toBe(blob.digest);
    }
    expect(bodies()).toBe(1);
    expect(fleet.origin.sentBytes).toBe(blob.sizeBytes);
  });

  it('changes nothing for the tenth client when nine leave', async () => {
    const half = Promise.withResolvers<void>();
    await start({
      async *alterBody(_call, chunks) {
        let sent = 0;
        for await (const chunk of chunks) {
          yield chunk;
          sent += chunk.length;
          if (sent >= 6 * MiB) await half.promise;
        }
      },
    });
    const leaving = await Promise.all(Array.from({ length: 9 }, () => begin()));
    const staying = kit.ask('GET', path);
    for (const response of leaving) {
      await new Promise((resolve) => response.once('data', resolve));
      response.destroy();
    }
    half.resolve();
    const { status, body } = await staying;
    expect(status).toBe(200);
    expect(digestOf(body)).toBe(blob.digest);
    expect(bodies()).toBe(1);
  });

  it('finishes the download when every client has left', async () => {
    await start();
    const response = await begin();
    response.destroy();
    await eventually(async () => (await node.store.blobs.findBlob(blob.digest)) !== undefined);
    expect(bodies()).toBe(1);
  });

  it('sends the head and the first bytes long before the blob is there, and withholds the end', async () => {
    const rest = Promise.withResolvers<void>();
    await start({
      async *alterBody(_call, chunks) {
        let sent = 0;
        for await (const chunk of chunks) {
          if (sent >= blob.sizeBytes - 100_000) await rest.promise;
          yield chunk;
          sent += chunk.length;
        }
      },
    });
    const response = await begin();
    expect(response.statusCode).toBe(200);
    let received = 0;
    response.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    const ended = new Promise<void>((resolve) => response.once('end', () => resolve()));
    await eventually(() => received >= blob.sizeBytes - 2 * MiB);
    expect(received).toBeLessThanOrEqual(blob.sizeBytes - planPieces(blob.sizeBytes).pieceBytes);
    rest.resolve();
    await ended;
    expect(received).toBe(blob.sizeBytes);
  });

  it('sends the head in time even when the first bytes are late', async () => {
    const first = Promise.withResolvers<void>();
    await start(
      {
        async *alterBody(_call, chunks) {
          await first.promise;
          yield* chunks;
        },
      },
      { earlyHeadersMs: 50 },
    );
    const response = await begin({ range: 'bytes=0-9' });
    expect(response.statusCode).toBe(206);
    first.resolve();
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    expect(Buffer.compare(Buffer.concat(chunks), blob.read(0, 10))).toBe(0);
  });

  it('answers an error, not a cut, when nobody can give the first byte', async () => {
    await start({
      beforeCall({ operation }) {
        if (operation === 'openBlob') throw new OriginError('ORIGIN_UNAVAILABLE', 'as the test wants it');
      },
    });
    const answer = await kit.ask('GET', path);
    expect([answer.status, JSON.parse(String(answer.body)).errors[0].code]).toEqual([503, 'UNAVAILABLE']);
  });

  it('cuts the answer rather than complete it with wrong bytes', async () => {
    let isWrong = true;
    await start({
      async *alterBody(_call, chunks) {
        for await (const chunk of chunks) {
          const altered = Uint8Array.from(chunk);
          if (isWrong) altered[100] = (altered[100] ?? 0) ^ 1;
          yield altered;
        }
      },
    });
    await expect(kit.ask('GET', path)).rejects.toThrow();
    isWrong = false;
    const { status, body } = await kit.ask('GET', path);
    expect([status, digestOf(body)]).toEqual([200, blob.digest]);
  });

  it('resumes for a client that was cut: the rest by Range is right', async () => {
    let cutAt = 8 * MiB;
    await start({
      async *alterBody(_call, chunks) {
        let sent = 0;
        for await (const chunk of chunks) {
          if (sent >= cutAt) return;
          yield chunk;
          sent += chunk.length;
        }
      },
    });
    const response = await begin();
    const got: Buffer[] = [];
    await new Promise<void>((resolve) => {
      response.on('data', (chunk: Buffer) => got.push(chunk));
      response.on('close', resolve);
      response.on('error', () => {});
    });
    const held = Buffer.concat(got);
    expect(response.complete).toBe(false);
    expect(held.length).toBeGreaterThan(0);
    cutAt = Number.POSITIVE_INFINITY;
    const rest = await kit.ask('GET', path, { range: `bytes=${held.length}-` });
    expect(rest.status).toBe(206);
    expect(digestOf(Buffer.concat([held, rest.body]))).toBe(blob.digest);
    // The pieces that were there are not asked for again.
    expect(fleet.origin.sentBytes).toBeLessThan(blob.sizeBytes + 2 * MiB);
  });

  it('cuts a client that takes no byte for too long, and serves the others meanwhile', async () => {
    await start({}, { stallTimeoutMs: 1_500 });
    await kit.ask('GET', path);
    using stalled = await kit.dial();
    // Answers queue up behind each other until the sockets' own buffers are full.
    stalled.socket.pause();
    stalled.socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(3));
    const { body } = await kit.ask('GET', path);
    expect(digestOf(body)).toBe(blob.digest);
    await eventually(() => kit.statuses().includes('cut'));
    stalled.socket.resume();
    await stalled.closed;
    expect(stalled.received().length).toBeLessThan(3 * blob.sizeBytes);
  });

  it('lets a running answer end when it stops, and takes no new connection', async () => {
    const half = Promise.withResolvers<void>();
    await start({
      async *alterBody(_call, chunks) {
        let sent = 0;
        for await (const chunk of chunks) {
          if (sent >= 6 * MiB) await half.promise;
          yield chunk;
          sent += chunk.length;
        }
      },
    });
    const running = kit.ask('GET', path);
    await eventually(() => fleet.origin.sentBytes >= 6 * MiB);
    const stopped = kit.registry[Symbol.asyncDispose]();
    await expect(begin()).rejects.toThrow();
    half.resolve();
    expect(digestOf((await running).body)).toBe(blob.digest);
    await stopped;
  });

  it('cuts what does not end within the drain time', async () => {
    await start(
      {
        async *alterBody(_call, chunks) {
          yield* chunks;
          await new Promise(() => {});
        },
      },
      { drainTimeoutMs: 50 },
    );
    const running = kit.ask('GET', path);
    running.catch(() => {});
    await eventually(() => fleet.origin.sentBytes === blob.sizeBytes);
    await kit.registry[Symbol.asyncDispose]();
    await expect(running).rejects.toThrow();
  });
});
