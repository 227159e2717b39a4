import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect as connectTcp, type LookupFunction, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { blobOf } from '../../src/cli/demo/origin-content.ts';
import { systemClock, systemRandom } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { createOrigin } from '../../src/origin/create-origin.ts';
import type { Origin } from '../../src/origin/origin.ts';
import type { OriginEntry, OriginsOptions } from '../../src/origin/origin-options.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { type ChaosRegistry, startChaosRegistry } from '../support/chaos-registry.ts';
import { originOptions, quickSettings } from '../support/origin-options.ts';
import { patience } from '../support/patience.ts';
import { testAuthority, testServer } from '../support/tls-fixture.ts';

const signal = new AbortController().signal;
const name = 'team/app';
const blob = blobOf(Buffer.from('the blob'));
const loopback: LookupFunction = (_hostname, options, callback) => {
  if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }]);
  else callback(null, '127.0.0.1', 4);
};

describe('the way to an origin', () => {
  const opened: AsyncDisposable[] = [];
  let directory: string;
  let caFile: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'shoal-origin-'));
    caFile = join(directory, 'ca.pem');
    await writeFile(caFile, testAuthority);
  });
  afterAll(() => rm(directory, { recursive: true }));
  afterEach(async () => {
    for (const one of opened.splice(0).reverse()) await one[Symbol.asyncDispose]();
  });

  const start = async (options: Parameters<typeof startChaosRegistry>[0] = {}): Promise<ChaosRegistry> => {
    const registry = await startChaosRegistry(options);
    opened.push(registry);
    registry.putBlob(name, blob);
    return registry;
  };
  const connect = (
    origins: Readonly<Record<string, OriginEntry>>,
    others: Partial<OriginsOptions> = {},
    lookup?: LookupFunction,
  ): Origin => {
    const deps = { clock: systemClock, random: systemRandom, logger: silentLogger, metrics: noMetrics };
    const options = originOptions(origins, others);
    const origin = createOrigin(lookup === undefined ? deps : { ...deps, lookup }, options);
    opened.push(origin);
    return origin;
  };
  const stat = (origin: Origin, namespace: string) => origin.statBlob({ namespace, name }, blob.digest, { signal });
  const read = async (origin: Origin, namespace: string) => {
    const range = { start: 0, end: blob.sizeBytes, sizeBytes: blob.sizeBytes };
    const body = await origin.openBlob({ namespace, name }, blob.digest, range, { signal });
    let text = '';
    for await (const chunk of body.chunks) text += Buffer.from(chunk).toString();
    return text;
  };

  describe('over TLS', () => {
    it('trusts the configured authority and no other', async () => {
      const registry = await start({ tls: testServer });
      expect(await stat(connect({ [registry.host]: { url: registry.url, caFile } }), registry.host)).toBeDefined();
      const stranger = stat(connect({ [registry.host]: { url: registry.url } }), registry.host);
      await expect(stranger).rejects.toMatchObject({ code: 'ORIGIN_UNAVAILABLE', details: { stage: 'tls' } });
      expect(registry.requests).toHaveLength(1);
    });

    it('trusts any certificate of an insecure origin', async () => {
      const registry = await start({ tls: testServer });
      const origin = connect({ [registry.host]: { url: registry.url, insecure: true } });
      expect(await read(origin, registry.host)).toBe('the blob');
    });

    it('says which authority file it cannot read, and reads it when it is there', async () => {
      const registry = await start({ tls: testServer });
      const late = join(directory, 'late.pem');
      const origin = connect({ [registry.host]: { url: registry.url, caFile: late } });
      await expect(stat(origin, registry.host)).rejects.toMatchObject({ details: { caFile: late } });
      await writeFile(late, testAuthority);
      await stat(origin, registry.host);
    });

    it('does not follow a redirect to plain HTTP', async () => {
      const store = await start();
      const registry = await start({ tls: testServer });
      registry.fail({ fault: { kind: 'redirect', to: store.url } });
      const call = read(connect({ [registry.host]: { url: registry.url, caFile } }), registry.host);
      await expect(call).rejects.toMatchObject({ code: 'ORIGIN_REALM_REFUSED' });
      expect(store.requests).toEqual([]);
    });

    it('does not ask a token service over plain HTTP', async () => {
      const service = await start({ auth: { kind: 'token' } });
      const registry = await start({ tls: testServer, auth: { kind: 'token', realm: `${service.url}/token` } });
      const call = stat(connect({ [registry.host]: { url: registry.url, caFile } }), registry.host);
      await expect(call).rejects.toMatchObject({ code: 'ORIGIN_REALM_REFUSED' });
      expect(service.requests).toEqual([]);
    });
  });

  describe('to names that clients choose', () => {
    const port = (registry: ChaosRegistry) => new URL(registry.url).port;

    it('refuses private and local addresses unless they are named', async () => {
      const registry = await start();
      const local = ['127.0.0.1:5000', 'localhost:80', '169.254.169.254', '10.0.0.1', '[::1]:5000', '[::ffff:7f00:1]'];
      for (const namespace of local) expect(connect({}, { allow: 'any' }).allows(namespace)).toBe(false);
      const origin = connect({}, { allow: ['127.0.0.*', 'ghcr.io'] });
      expect(await read(origin, registry.host)).toBe('the blob');
      expect(origin.allows('ghcr.io')).toBe(true);
      expect(origin.allows('ghcr.io.evil.test')).toBe(false);
    });

    it('refuses a public name that resolves to a private address', async () => {
      const registry = await start({ tls: testServer });
      const namespace = `evil.origin.test:${port(registry)}`;
      const call = stat(connect({}, { allow: 'any' }, loopback), namespace);
      await expect(call).rejects.toMatchObject({ code: 'ORIGIN_REALM_REFUSED' });
      expect(registry.requests).toEqual([]);
    });

    it('reaches a configured name at a private address, and its redirect there', async () => {
      const store = await start({ tls: testServer });
      const registry = await start({ tls: testServer });
      registry.fail({
        kinds: ['blob-get'],
        fault: { kind: 'redirect', to: `https://store.origin.test:${port(store)}` },
      });
      const namespace = `registry.origin.test:${port(registry)}`;
      expect(await read(connect({ [namespace]: { caFile } }, {}, loopback), namespace)).toBe('the blob');
      expect(store.requests).toHaveLength(1);
    });

    it.each(['../etc', 'UPPER.test', 'a/b', 'user@host.test', 'host.test:port', '', 'x'.repeat(300), '-a.test', 'a b'])(
      'refuses %j, which is no host name',
      (namespace) => {
        expect(connect({}, { allow: 'any' }).allows(namespace)).toBe(false);
      },
    );
  });

  it('does not send credentials over plain HTTP beyond this machine', async () => {
    const registry = await start({ auth: { kind: 'basic', username: 'fish', password: 'secret' } });
    const namespace = `registry.origin.test:${new URL(registry.url).port}`;
    const entry = { url: `http://${namespace}`, credentials: { username: 'fish', password: 'secret' } };
    const call = stat(connect({ [namespace]: entry }, {}, loopback), namespace);
    await expect(call).rejects.toMatchObject({ code: 'ORIGIN_REALM_REFUSED' });
    expect(await stat(connect({ [namespace]: { ...entry, insecure: true } }, {}, loopback), namespace)).toBeDefined();
    const sent = registry.requests.filter(({ headers }) => headers['authorization'] !== undefined);
    expect(sent).toHaveLength(1);
  });

  it('closes idle connections of namespaces met long ago', async () => {
    const registry = await start();
    const origin = connect(
      {},
      { allow: ['*.origin.test:*', '127.0.0.1:*'], defaultSettings: { ...quickSettings, retries: 0 } },
      loopback,
    );
    await stat(origin, registry.host);
    for (let index = 0; index < 260; index += 1) {
      await stat(origin, `n${index}.origin.test:1`).catch(() => undefined);
    }
    expect(origin.status().length).toBeLessThanOrEqual(256);
    expect(origin.status().some(({ namespace }) => namespace === registry.host)).toBe(false);
  });

  it('refuses calls after its disposal and ends what runs', async () => {
    const registry = await start();
    registry.fail({ fault: { kind: 'silence' } });
    const origin = connect({ [registry.host]: { retries: 0 } }) as Origin & AsyncDisposable;
    const running = stat(origin, registry.host);
    const outcome = expect(running).rejects.toMatchObject({ code: 'ORIGIN_UNAVAILABLE' });
    await expect.poll(() => registry.requests.length, patience).toBe(1);
    await origin[Symbol.asyncDispose]();
    await outcome;
    await expect(stat(origin, registry.host)).rejects.toMatchObject({ code: 'ORIGIN_NOT_ALLOWED' });
  });

  describe('through a proxy', () => {
    const asked: string[] = [];
    const startProxy = async (): Promise<string> => {
      asked.length = 0;
      const proxy = createServer((request, response) => {
        asked.push(`${request.method} ${request.url}`);
        const url = new URL(request.url ?? '');
        const onward = httpRequest(
          { host: '127.0.0.1', port: url.port, path: url.pathname, method: request.method, headers: request.headers },
          (answer) => {
            response.writeHead(answer.statusCode ?? 502, answer.headers);
            answer.pipe(response);
          },
        );
        request.pipe(onward);
      });
      proxy.on('connect', (request: IncomingMessage, socket: Socket) => {
        asked.push(`CONNECT ${request.url}`);
        const onward = connectTcp(Number(request.url?.split(':')[1]), '127.0.0.1', () => {
          socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
          onward.pipe(socket).pipe(onward);
        });
        for (const end of [socket, onward]) end.on('error', () => onward.destroy());
      });
      proxy.listen(0, '127.0.0.1');
      await once(proxy, 'listening');
      opened.push({
        async [Symbol.asyncDispose]() {
          proxy.close();
          proxy.closeAllConnections();
        },
      });
      return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    };

    it('reaches an HTTPS origin by CONNECT, with its authority', async () => {
      const registry = await start({ tls: testServer });
      const httpsProxy = await startProxy();
      const origin = connect({ [registry.host]: { url: registry.url, caFile } }, { proxy: { httpsProxy } });
      expect(await read(origin, registry.host)).toBe('the blob');
      expect(asked).toEqual([`CONNECT ${registry.host}`]);
    });

    it('reaches an HTTP origin by forwarding', async () => {
      const registry = await start();
      const httpProxy = await startProxy();
      const origin = connect({ [registry.host]: {} }, { proxy: { httpProxy } });
      expect(await read(origin, registry.host)).toBe('the blob');
      expect(asked).toEqual([`GET ${registry.url}/v2/${name}/blobs/${blob.digest}`]);
    });

    it('leaves out what noProxy names', async () => {
      const registry = await start();
      const httpProxy = await startProxy();
      const origin = connect({ [registry.host]: {} }, { proxy: { httpProxy, noProxy: '127.0.0.1' } });
      expect(await read(origin, registry.host)).toBe('the blob');
      expect(asked).toEqual([]);
    });
  });
});
