import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createAdminClient } from '../../../src/cli/client/admin-client.ts';
import { findAdminEndpoint } from '../../../src/cli/client/admin-endpoint.ts';
import type { CommandIo } from '../../../src/cli/command.ts';
import { createTempDir } from '../../support/temp-dir.ts';

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

async function answering(listener: RequestListener, token?: string) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  stops.push(() => server.close());
  await once(server, 'listening');
  return createAdminClient({ address: `127.0.0.1:${(server.address() as AddressInfo).port}`, token });
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
  await expect(
    createAdminClient({ address: '127.0.0.1:1', token: undefined }).get('/', signal()),
  ).rejects.toMatchObject({ code: 'CLI_UNREACHABLE' });
  await expect(
    createAdminClient({ address: 'not an address', token: undefined }).get('/', signal()),
  ).rejects.toMatchObject({ code: 'CLI_USAGE' });
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

test('sends the token with whatever it asks', async () => {
  const seen: unknown[] = [];
  const listener: RequestListener = (request, response) => {
    seen.push(request.headers.authorization);
    response.end('{}');
  };
  for (const token of ['a token of sixteen', undefined]) {
    const client = await answering(listener, token);
    await client.get('/', signal());
    await collect(client.stream('POST', '/', {}, signal()));
  }
  expect(seen).toEqual(['Bearer a token of sixteen', 'Bearer a token of sixteen', undefined, undefined]);
});

describe('the daemon to ask', () => {
  const io = (env: Record<string, string>) => ({ env }) as Partial<CommandIo> as CommandIo;

  test('is that of the flag, the environment, else the configuration', async () => {
    const find = async (options: { admin?: string }, env: Record<string, string>) =>
      (await findAdminEndpoint(options, io(env))).address;
    expect(await find({ admin: 'http://a:1/' }, { SHOAL_ADMIN: 'b:2' })).toBe('a:1');
    expect(await find({}, { SHOAL_ADMIN: 'b:2' })).toBe('b:2');
    expect(await find({}, { SHOAL_ADMIN_LISTEN: '0.0.0.0:7' })).toBe('127.0.0.1:7');
    expect(await find({}, { SHOAL_ADMIN_LISTEN: '[::1]:7' })).toBe('[::1]:7');
  });

  test('gets the token of the environment, and that of a configuration it belongs to', async () => {
    using dir = createTempDir('cli');
    const config = join(dir.path, 'shoal.yaml');
    await writeFile(config, 'admin:\n  listen: 127.0.0.1:7\n  token: token of the file\n');
    const env = { SHOAL_ADMIN_TOKEN: 'token of the environment' };
    expect(await findAdminEndpoint({ config }, io({}))).toEqual({ address: '127.0.0.1:7', token: 'token of the file' });
    expect(await findAdminEndpoint({}, io({ SHOAL_CONFIG: config }))).toMatchObject({ token: 'token of the file' });
    expect(await findAdminEndpoint({ config }, io(env))).toMatchObject({ token: 'token of the environment' });
    expect(await findAdminEndpoint({ admin: 'b:2', config }, io({}))).toEqual({
      address: 'b:2',
      token: 'token of the file',
    });
    expect(await findAdminEndpoint({ admin: 'b:2' }, io(env))).toEqual({
      address: 'b:2',
      token: 'token of the environment',
    });
    // The address alone says nothing about whose daemon that is.
    expect(await findAdminEndpoint({ admin: 'b:2' }, io({ SHOAL_CONFIG: config }))).toEqual({
      address: 'b:2',
      token: undefined,
    });
  });
});
