import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { findAdminAddress } from '../../../src/cli/client/admin-address.ts';
import { createAdminClient } from '../../../src/cli/client/admin-client.ts';
import type { CommandIo } from '../../../src/cli/command.ts';

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

async function answering(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  stops.push(() => server.close());
  await once(server, 'listening');
  return createAdminClient(`127.0.0.1:${(server.address() as AddressInfo).port}`);
}

const signal = () => AbortSignal.timeout(5000);
const collect = async (lines: AsyncIterable<unknown>) => {
  const all: unknown[] = [];
  for await (const line of lines) all.push(line);
  return all;
};

test('reads an answer, and a stream line by line', async () => {
  const client = await answering((request, response) => {
    if (request.method === 'GET') response.end('{"a":1}');
    else request.on('end', () => response.end('{"n":1}\n{"n":2}\n')).resume();
  });
  expect(await client.get('/x', signal())).toEqual({ a: 1 });
  expect(await collect(client.stream('POST', '/y', {}, signal()))).toEqual([{ n: 1 }, { n: 2 }]);
});

test('tells a refusal of the daemon from an answer of something else', async () => {
  const refusing = await answering((_, response) => {
    response.statusCode = 404;
    response.end('{"error":{"code":"IMAGE_MANIFEST_UNKNOWN","message":"no such image","remedy":"check the name"}}');
  });
  await expect(refusing.get('/', signal())).rejects.toMatchObject({
    code: 'CLI_REFUSED',
    message: 'no such image (IMAGE_MANIFEST_UNKNOWN)',
    details: { remedy: 'check the name', status: 404 },
  });
  for (const [status, body] of [
    [404, '<html>'],
    [200, '<html>'],
  ] as const) {
    const other = await answering((_, response) => {
      response.statusCode = status;
      response.end(body);
    });
    await expect(other.get('/', signal())).rejects.toMatchObject({ code: 'CLI_BAD_ANSWER' });
  }
});

test('says so when nobody answers, or the daemon goes in the middle of a stream', async () => {
  await expect(createAdminClient('127.0.0.1:1').get('/', signal())).rejects.toMatchObject({ code: 'CLI_UNREACHABLE' });
  await expect(createAdminClient('not an address').get('/', signal())).rejects.toMatchObject({ code: 'CLI_USAGE' });
  const leaving = await answering((_, response) => {
    response.write('{"n":1}\n', () => response.destroy());
  });
  await expect(collect(leaving.stream('POST', '/', {}, signal()))).rejects.toMatchObject({ code: 'CLI_UNREACHABLE' });
});

test('gives up when the person does', async () => {
  const silent = await answering(() => {});
  const gone = new AbortController();
  const asking = silent.get('/', gone.signal);
  gone.abort(new DOMException('interrupted', 'AbortError'));
  await expect(asking).rejects.toMatchObject({ name: 'AbortError' });
});

test('finds the admin address in the flag, the environment, else the configuration', async () => {
  const io = (env: Record<string, string>) => ({ env }) as Partial<CommandIo> as CommandIo;
  expect(await findAdminAddress({ admin: 'http://a:1/' }, io({ SHOAL_ADMIN: 'b:2' }))).toBe('a:1');
  expect(await findAdminAddress({}, io({ SHOAL_ADMIN: 'b:2' }))).toBe('b:2');
  expect(await findAdminAddress({}, io({ SHOAL_ADMIN_LISTEN: '0.0.0.0:7' }))).toBe('127.0.0.1:7');
  expect(await findAdminAddress({}, io({ SHOAL_ADMIN_LISTEN: '[::1]:7' }))).toBe('[::1]:7');
});
