import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Images } from '../../src/image/images.ts';
import { raceAbort } from '../../src/lib/race-abort.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { mediaTypes } from '../../src/oci/media-type.ts';
import { randomBytes } from '../support/image-builder.ts';
import { createMemoryFleet, eventually, type MemoryFleet } from '../support/image-fleet.ts';
import { type RawConnection, type RegistryKit, startRegistryKit } from '../support/registry-kit.ts';

const repository = { namespace: 'docker.io', name: 'g/r' };
const head = 'GET /v2/ HTTP/1.1\r\nHost: x\r\n';

describe('hostile clients', () => {
  let fleet: MemoryFleet;
  let kit: RegistryKit;
  const start = async (options: Parameters<typeof startRegistryKit>[1] = {}) => {
    kit = await startRegistryKit((await fleet.join()).images, options);
  };
  beforeAll(() => {
    fleet = createMemoryFleet();
  });
  afterEach(() => kit[Symbol.asyncDispose]());
  afterAll(() => fleet[Symbol.asyncDispose]());
  const say = async (...texts: readonly string[]): Promise<string> => {
    using connection = await kit.dial();
    for (const text of texts) connection.socket.write(text, 'latin1');
    await connection.closed;
    return connection.received();
  };

  it('closes a connection that sends its head too slowly, or nothing at all', async () => {
    await start({ headersTimeoutMs: 200, requestTimeoutMs: 400 });
    for (const begun of ['', 'G', head, `${head}X-A: 1\r\n`]) {
      expect(await say(begun)).toBe('');
    }
  });

  it('closes a slow loris that keeps sending a byte now and then', async () => {
    await start({ headersTimeoutMs: 300, requestTimeoutMs: 300 });
    using connection = await kit.dial();
    connection.socket.write(head);
    const drip = setInterval(() => connection.socket.write('X-A: 1\r\n'), 20);
    await connection.closed;
    clearInterval(drip);
    expect(connection.received()).toBe('');
  });

  it('closes a connection that is idle between requests', async () => {
    await start({ idleTimeoutMs: 100 });
    const received = await say(`${head}\r\n`);
    expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  it('refuses a head over the limit with 431', async () => {
    await start({ maxHeaderBytes: 4096 });
    const received = await say(`${head}X-A: ${'a'.repeat(8192)}\r\n\r\n`);
    expect(received).toMatch(/^HTTP\/1\.1 431 /);
    expect(received).toContain('"errors"');
    const many = await say(`${head}${'X-A: 1\r\n'.repeat(2000)}\r\n`);
    expect(many).toMatch(/^HTTP\/1\.1 431 /);
  });

  it('refuses a request whose length could be read two ways', async () => {
    await start();
    for (const lengths of [
      'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n',
      'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n',
      'Content-Length: 5\r\nContent-Length: 6\r\n',
      'Transfer-Encoding: identity\r\nTransfer-Encoding: chunked, gzip\r\n',
      'Content-Length: +5\r\n',
      'Content-Length: 5, 5\r\n',
    ]) {
      const received = await say(`${head}${lengths}\r\n0\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: smuggled\r\n\r\n`);
      expect([lengths, received.slice(0, 13)]).toEqual([lengths, 'HTTP/1.1 400 ']);
      expect(received.match(/HTTP\/1\.1/g)).toHaveLength(1);
    }
  });

  it('refuses what is no HTTP', async () => {
    await start();
    for (const bytes of [
      'nonsense\r\n\r\n',
      'GET\r\n\r\n',
      `GET /v2/ HTTP/1.1\r\n\r\n`,
      `${head}X A: 1\r\n\r\n`,
      `${head}X-A: a\u0000b\r\n\r\n`,
      '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003',
    ]) {
      expect(await say(bytes)).toMatch(/^HTTP\/1\.1 400 /);
    }
    await fuzz(kit);
  });

  it('neither reads nor waits for a body nobody asked for', async () => {
    await start();
    for (const request of [
      `${head}Content-Length: 1000000000\r\n\r\n`,
      `${head}Transfer-Encoding: chunked\r\n\r\n`,
      'POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n',
      'PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{',
    ]) {
      const received = await say(request);
      expect([request.slice(0, 8), received.slice(0, 12)]).toEqual([
        request.slice(0, 8),
        request.startsWith('GET') ? 'HTTP/1.1 200' : 'HTTP/1.1 405',
      ]);
      expect(received).toContain('Connection: close');
    }
  });

  it('does not invite the body of a push', async () => {
    await start();
    const received = await say(
      'PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n',
    );
    expect(received).toMatch(/^HTTP\/1\.1 405 /);
    expect(received).not.toContain('100 Continue');
  });

  it('answers pipelined requests in order, one at a time', async () => {
    await start();
    const received = await say(
      `${`${head}\r\n`.repeat(20)}GET /v2/x/tags/list?n=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    );
    expect(received.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(21);
    expect(received.endsWith('{"name":"x","tags":[]}')).toBe(true);
  });

  it('forgets pipelined requests of a client that is gone', async () => {
    await start();
    using connection = await kit.dial();
    connection.socket.write(`${head}\r\n`.repeat(30));
    await eventually(() => connection.received().length > 0);
    connection.socket.destroy();
    await kit.registry[Symbol.asyncDispose]();
  });

  it('cuts off a client that sends requests without end ahead of their answers', async () => {
    const never = (...[, , signal]: Parameters<Images['openBlob']>) => raceAbort(new Promise<never>(() => {}), signal);
    kit = await startRegistryKit({ ...(await fleet.join()).images, openBlob: never });
    const first = `GET /v2/g/r/blobs/${digestOf(Buffer.from('x'))} HTTP/1.1\r\nHost: x\r\n\r\n`;
    using most = await kit.dial();
    most.socket.write(first + `${head}\r\n`.repeat(32));
    using more = await kit.dial();
    more.socket.write(first + `${head}\r\n`.repeat(33));
    await more.closed;
    expect(most.socket.destroyed).toBe(false);
    expect(more.received()).toBe('');
  });

  it('closes connections over the limit and serves the others', async () => {
    await start({ maxConnections: 3 });
    const held: RawConnection[] = [];
    for (let count = 0; count < 3; count += 1) {
      const connection = await kit.dial();
      connection.socket.write(`${head}\r\n`);
      await eventually(() => connection.received().includes('200 OK'));
      held.push(connection);
    }
    expect(await say(`${head}\r\n`)).toBe('');
    held[0]?.socket.write(`${head}\r\n`);
    await eventually(() => (held[0]?.received().match(/200 OK/g)?.length ?? 0) === 2);
    for (const connection of held) connection.socket.destroy();
  });

  it('closes a connection that does not take a large manifest', async () => {
    await start({ stallTimeoutMs: 200 });
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        config: { mediaType: mediaTypes.ociEmpty, size: 2, digest: digestOf(Buffer.from('{}')) },
        layers: [],
        annotations: { filling: 'x'.repeat(4_000_000) },
      }),
    );
    const digest = fleet.origin.putManifest(repository, { mediaType: mediaTypes.ociManifest, bytes });
    using connection = await kit.dial();
    connection.socket.pause();
    connection.socket.write(`GET /v2/g/r/manifests/${digest} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(5));
    await eventually(() => kit.statuses().includes('cut'));
    expect(kit.statuses().filter((status) => status === 'cut')).toHaveLength(1);
  });

  it('keeps header values of clients out of its answers', async () => {
    await start();
    const received = await say(
      'GET /v2/a/tags/list?n=0&ns=docker.io%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    );
    expect(received).toMatch(/^HTTP\/1\.1 400 /);
    expect(received.toLowerCase()).not.toContain('x-evil');
  });
});

/** Whatever comes, the connection is closed or answered, and the next client is served. */
async function fuzz(kit: RegistryKit): Promise<void> {
  for (let seed = 0; seed < 30; seed += 1) {
    using connection = await kit.dial();
    connection.socket.end(Buffer.concat([Buffer.from('GET /v2/'), randomBytes(seed, 300), Buffer.from('\r\n\r\n')]));
    await connection.closed;
  }
  const { status } = await kit.ask('GET', '/v2/');
  expect(status).toBe(200);
}
