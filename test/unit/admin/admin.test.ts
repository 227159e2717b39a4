import { request } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import type { AdminOptions } from '../../../src/admin/options.ts';
import { type Admin, type AdminDeps, startAdmin } from '../../../src/admin/start-admin.ts';
import type { PeerId } from '../../../src/content/peer-id.ts';
import type { Member } from '../../../src/discovery/membership.ts';
import { createHealth } from '../../../src/health/conditions.ts';
import { ImageError } from '../../../src/image/errors.ts';
import type { PullProgress, PullRequest } from '../../../src/image/images.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { raceAbort } from '../../../src/lib/race-abort.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { dockerHub } from '../../../src/oci/namespace.ts';
import type { SwarmPeer } from '../../../src/swarm/swarm.ts';

const digest = digestOf(Buffer.from('x'));
const [ada, bob] = ['12D3KooWada' as PeerId, '12D3KooWbob' as PeerId];
const resolved: PullProgress = { kind: 'resolved', digest, mediaType: 'a/b', isStale: false };
const done: PullProgress = {
  kind: 'done',
  digest,
  totalBytes: 1,
  bytes: { origin: 1, peer: 0, local: 0 },
  durationMs: 1,
};

describe('the admin API', () => {
  let admin: Admin;
  const health = createHealth(systemClock);
  const member: Member = { peer: ada, isConnected: true, source: 'static', addresses: ['/ip4/1.2.3.4'], lastSeenMs: 5 };
  const met: SwarmPeer = {
    peer: bob,
    isConnected: false,
    receivedBytes: 7,
    sentBytes: 8,
    rateBytesPerSecond: 9,
    rejectedPieces: 1,
    ban: { reason: 'lied', evidence: 'x', sinceMs: 1 },
  };
  const asked: PullRequest[] = [];
  const left = Promise.withResolvers<void>();
  let pull: AdminDeps['images']['pull'] = async function* (order) {
    asked.push(order);
    yield resolved;
    yield done;
  };

  const start = async (options: Partial<AdminOptions> = {}) => {
    admin = await startAdmin(
      {
        health,
        metricsText: async () => '# HELP x y\nx 1\n',
        swarm: { transfers: () => [], peers: () => [met] },
        membership: { members: () => [member] },
        images: { pull: (order, signal) => pull(order, signal), listImages: async () => [] },
        status: async () => ({
          version: '1.2.3',
          peer: ada,
          startedAtMs: 1,
          store: { blobs: 1, blobBytes: 2, ingests: 0, ingestBytes: 0 },
          origins: [],
        }),
        explain: {
          findEarlierTransfer: () => undefined,
          findImageBlobs: async () => undefined,
        },
        clock: systemClock,
        logger: silentLogger,
      },
      {
        listen: { host: '127.0.0.1', port: 0 },
        hosts: ['node.lan'],
        defaultOrigin: dockerHub,
        maxConnections: 20,
        maxPulls: 1,
        requestTimeoutMs: 5_000,
        drainTimeoutMs: 1_000,
        ...options,
      },
    );
  };
  const ask = (
    method: string,
    path: string,
    { headers = {}, body }: { headers?: Record<string, string>; body?: string } = {},
  ): Promise<{ status: number; text: string; type: string | undefined }> =>
    new Promise((resolve, reject) => {
      const sent = request({ ...admin.address, method, path, headers, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, text, type: response.headers['content-type'] });
        });
      });
      sent.on('error', reject);
      sent.end(body);
    });
  const askJson = async (path: string) => JSON.parse((await ask('GET', path)).text);
  const order = (body: unknown, headers: Record<string, string> = {}) =>
    ask('POST', '/api/v1/pull', {
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
  afterEach(() => admin[Symbol.asyncDispose]());

  it('is live while it answers, and ready as health says', async () => {
    await start();
    expect((await ask('GET', '/livez')).status).toBe(200);
    expect((await ask('GET', '/readyz')).status).toBe(200);
    health.set({ code: 'STORE_FULL', severity: 'blocking', text: 'full', remedy: 'room' });
    const { status, text } = await ask('GET', '/readyz');
    expect(status).toBe(503);
    expect(JSON.parse(text)).toMatchObject({ isReady: false, conditions: [{ code: 'STORE_FULL', remedy: 'room' }] });
    expect((await ask('GET', '/livez')).status).toBe(200);
    health.clear('STORE_FULL');
  });

  it('serves metrics as text', async () => {
    await start();
    const { text, type } = await ask('GET', '/metrics');
    expect([text, type]).toEqual(['# HELP x y\nx 1\n', 'text/plain; version=0.0.4; charset=utf-8']);
  });

  it('shows status, peers, transfers and images', async () => {
    await start();
    expect(await askJson('/api/v1/status')).toMatchObject({
      version: '1.2.3',
      isReady: true,
      conditions: [],
      peers: { connected: 1, known: 1 },
      store: { blobs: 1 },
    });
    expect((await askJson('/api/v1/peers')).peers).toEqual([
      { ...member, receivedBytes: 0, sentBytes: 0, rateBytesPerSecond: 0, rejectedPieces: 0 },
      met,
    ]);
    expect(await askJson('/api/v1/transfers')).toEqual({ transfers: [] });
    expect(await askJson('/api/v1/images')).toEqual({ images: [] });
  });

  it('pulls what a reference means, line by line', async () => {
    await start();
    for (const [body, request] of [
      [{ reference: 'nginx' }, { name: 'library/nginx', reference: { tag: 'latest' } }],
      [
        { reference: 'ghcr.io/o/a:1', platform: 'all' },
        { name: 'o/a', reference: { tag: '1' }, platform: 'all' },
      ],
      [
        { reference: `nginx@${digest}`, platform: 'linux/arm/v7' },
        { name: 'library/nginx', reference: { digest }, platform: { os: 'linux', architecture: 'arm', variant: 'v7' } },
      ],
    ] as const) {
      const { status, text, type } = await order(body);
      expect([status, type]).toEqual([200, 'application/x-ndjson']);
      expect(text).toBe(`${JSON.stringify(resolved)}\n${JSON.stringify(done)}\n`);
      const { name, ...rest } = request;
      expect(asked.at(-1)).toMatchObject({ repository: { name }, ...rest });
    }
  });

  it('ends the lines with what went wrong', async () => {
    await start();
    const before = pull;
    pull = async function* () {
      yield resolved;
      throw new ImageError('IMAGE_UNAUTHORIZED', 'cannot get it', { cause: new Error('401 from the origin') });
    };
    const lines = (await order({ reference: 'x' })).text.trim().split('\n');
    expect(JSON.parse(lines[1] ?? '')).toMatchObject({
      kind: 'failed',
      error: { code: 'IMAGE_UNAUTHORIZED', message: 'cannot get it: 401 from the origin' },
    });
    pull = async function* () {
      yield resolved;
      throw new Error('secret detail of a bug');
    };
    const bug = await order({ reference: 'x' });
    expect(bug.text).toContain('ADMIN_INTERNAL');
    expect(bug.text).not.toContain('secret');
    pull = before;
  });

  it('refuses orders it cannot read', async () => {
    await start();
    for (const body of [
      {},
      [],
      null,
      { reference: 5 },
      { reference: 'UPPER' },
      { reference: 'x', platform: 'y' },
      { reference: 'x', other: 1 },
      { reference: 'x'.repeat(9000) },
    ]) {
      const { status, text } = await order(body);
      expect([status, JSON.parse(text).error.code]).toEqual([400, 'ADMIN_BAD_REQUEST']);
    }
    const headers = { 'content-type': 'text/plain' };
    expect((await ask('POST', '/api/v1/pull', { headers, body: '{"reference":"x"}' })).status).toBe(400);
    const json = { 'content-type': 'application/json' };
    expect((await ask('POST', '/api/v1/pull', { headers: json, body: '{' })).status).toBe(400);
  });

  it('runs as many pulls at once as it may, and stops one whose client leaves', async () => {
    await start();
    const before = pull;
    const begun = Promise.withResolvers<void>();
    pull = async function* (_order, signal) {
      yield resolved;
      begun.resolve();
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      left.resolve();
    };
    const leaving = request({
      ...admin.address,
      method: 'POST',
      path: '/api/v1/pull',
      headers: { 'content-type': 'application/json' },
      agent: false,
    });
    leaving.on('error', () => {});
    leaving.end('{"reference":"x"}');
    await begun.promise;
    expect((await order({ reference: 'x' })).status).toBe(503);
    leaving.destroy();
    await left.promise;
    pull = before;
    expect((await order({ reference: 'x' })).status).toBe(200);
  });

  it('tells a pull that runs that the node is stopping', async () => {
    await start();
    const before = pull;
    const begun = Promise.withResolvers<void>();
    pull = async function* (_order, signal) {
      yield resolved;
      begun.resolve();
      await raceAbort(new Promise<never>(() => {}), signal);
    };
    const pulling = order({ reference: 'x' });
    await begun.promise;
    await admin[Symbol.asyncDispose]();
    pull = before;
    const lines = (await pulling).text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toMatchObject([
      { kind: 'resolved' },
      {
        kind: 'failed',
        error: {
          code: 'ADMIN_STOPPING',
          message: 'the daemon is stopping',
          remedy: expect.stringContaining('Pull again'),
        },
      },
    ]);
  });

  it('refuses hosts that are not its own, as a rebound name would be', async () => {
    await start();
    for (const [host, status] of [
      ['evil.example', 403],
      ['evil.example:5001', 403],
      ['127.0.0.1.evil.example', 403],
      ['localhost', 200],
      ['localhost:5001', 200],
      ['127.0.0.1:1', 200],
      ['[::1]:5001', 200],
      ['node.lan:5001', 200],
    ] as const) {
      expect([host, (await ask('GET', '/api/v1/status', { headers: { host } })).status]).toEqual([host, status]);
    }
    expect((await order({ reference: 'x' }, { origin: 'http://evil.example' })).status).toBe(403);
    expect((await order({ reference: 'x' }, { origin: 'null' })).status).toBe(403);
  });

  it('wants its token for changes, when one is set', async () => {
    await start({ token: 'correct horse' });
    for (const [authorization, status] of [
      ['Bearer wrong', 403],
      ['Basic correct horse', 403],
      ['Bearer correct horse', 200],
    ] as const) {
      expect([authorization, (await order({ reference: 'x' }, { authorization })).status]).toEqual([
        authorization,
        status,
      ]);
    }
    expect((await ask('GET', '/api/v1/status')).status).toBe(200);
  });

  it('answers unknown paths and methods with JSON', async () => {
    await start();
    for (const [method, path] of [
      ['GET', '/'],
      ['GET', '/api/v1/nothing'],
      ['DELETE', '/api/v1/images'],
      ['GET', '/api/v1/pull'],
    ] as const) {
      const { status, text } = await ask(method, path);
      expect([path, status, JSON.parse(text).error.code]).toEqual([path, 404, 'ADMIN_NOT_FOUND']);
    }
  });
});
