import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blobOf } from '../../src/cli/demo/origin-content.ts';
import { createHealth } from '../../src/health/conditions.ts';
import { systemClock, systemRandom } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { createOrigin } from '../../src/origin/create-origin.ts';
import type { Origin, OriginBody } from '../../src/origin/origin.ts';
import type { OriginEntry } from '../../src/origin/origin-options.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { type ChaosRegistry, type Fault, startChaosRegistry } from '../support/chaos-registry.ts';
import { buildGeneratedBlob, randomBytes } from '../support/image-builder.ts';
import { originOptions, quickSettings } from '../support/origin-options.ts';
import { patience } from '../support/patience.ts';

const signal = new AbortController().signal;
const name = 'team/app';
const bytes = randomBytes(3, 1_000_000);
const blob = blobOf(bytes);
const whole = { start: 0, end: bytes.length, sizeBytes: bytes.length };
const manifest = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}');
const mediaType = 'application/vnd.oci.image.manifest.v1+json';

describe('an origin that misbehaves', () => {
  let registry: ChaosRegistry;
  const opened: AsyncDisposable[] = [];
  beforeEach(async () => {
    registry = await startChaosRegistry();
    opened.push(registry);
    registry.putBlob(name, blob);
    registry.putManifest(name, { mediaType, bytes: manifest }, ['latest']);
  });
  afterEach(async () => {
    for (const one of opened.splice(0).reverse()) await one[Symbol.asyncDispose]();
  });

  const health = createHealth(systemClock);
  const connect = (entry: OriginEntry = {}): Origin => {
    const deps = { clock: systemClock, random: systemRandom, logger: silentLogger, metrics: noMetrics, health };
    const origin = createOrigin(deps, originOptions({ [registry.host]: entry }));
    opened.push(origin);
    return origin;
  };
  const repository = () => ({ namespace: registry.host, name });
  const open = (origin: Origin, range = whole) => origin.openBlob(repository(), blob.digest, range, { signal });
  const read = async (opening: Promise<OriginBody>): Promise<Buffer> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of (await opening).chunks) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  const failBlobs = (fault: Fault, times?: number) =>
    registry.fail({ kinds: ['blob-get'], fault, ...(times === undefined ? {} : { times }) });

  describe('in the middle of a body', () => {
    it.each([
      ['cut', { kind: 'cut', afterBytes: 300_000 }],
      ['stall', { kind: 'stall', afterBytes: 300_000 }],
    ] as const)('resumes by Range after a %s, as long as there is progress', async (_name, fault) => {
      failBlobs(fault);
      expect((await read(open(connect()))).equals(bytes)).toBe(true);
      const starts = registry.requests.map(({ headers }) => /bytes=(\d+)-/.exec(String(headers['range']))?.[1]);
      expect(starts.map(Number)).toEqual([Number.NaN, 300_000, 600_000, 900_000]);
    });

    it('resumes inside the range that was asked for', async () => {
      failBlobs({ kind: 'cut', afterBytes: 100_000 }, 1);
      const received = await read(open(connect(), { start: 200_000, end: 500_000, sizeBytes: bytes.length }));
      expect(received.equals(bytes.subarray(200_000, 500_000))).toBe(true);
      expect(registry.requests.map(({ headers }) => headers['range'])).toEqual([
        'bytes=200000-499999',
        'bytes=300000-499999',
      ]);
    });

    it('skips what it has where the origin ignores Range on the way', async () => {
      failBlobs({ kind: 'cut', afterBytes: 400_000 }, 1);
      failBlobs({ kind: 'ignore-range' });
      expect((await read(open(connect()))).equals(bytes)).toBe(true);
      const part = await read(open(connect(), { start: 0, end: 700_000, sizeBytes: bytes.length }));
      expect(part.equals(bytes)).toBe(true);
    });

    it('says cut when the origin is gone before it is done', async () => {
      failBlobs({ kind: 'cut', afterBytes: 300_000 }, 1);
      registry.fail({ kinds: ['blob-get'], after: 1, fault: { kind: 'hang-up' } });
      const error = await read(open(connect())).catch((caught) => caught);
      expect(error).toMatchObject({
        code: 'ORIGIN_CUT',
        details: { receivedBytes: 300_000, expectedBytes: bytes.length },
      });
    });

    it('hands on corrupted bytes of a blob, which are the asker’s to verify', async () => {
      failBlobs({ kind: 'corrupt', atByte: 5 });
      const received = await read(open(connect()));
      expect(received.length).toBe(bytes.length);
      expect(received.equals(bytes)).toBe(false);
    });

    it('passes a slow origin', async () => {
      failBlobs({ kind: 'slow', bytesPerSecond: 500_000 });
      const range = { start: 0, end: 100_000, sizeBytes: bytes.length };
      expect((await read(open(connect(), range))).equals(bytes.subarray(0, 100_000))).toBe(true);
    });
  });

  it.each([
    ['a page of HTML', { kind: 'html-page' }],
    ['a shorter body than the blob', { kind: 'shorten', toBytes: 5000 }],
    ['a longer body than the blob', { kind: 'lengthen', byBytes: 1 }],
    ['an encoded body', { kind: 'with-headers', headers: { 'content-encoding': 'gzip' } }],
    ['another part than asked for', { kind: 'with-headers', headers: { 'content-range': 'bytes 1-1000000/1000000' } }],
    ['a part of a blob of another size', { kind: 'with-headers', headers: { 'content-range': 'bytes 9-9/1000' } }],
    ['a partial answer without Content-Range', { kind: 'without-headers', names: ['content-range'] }],
    ['several parts', { kind: 'with-headers', headers: { 'content-type': 'multipart/byteranges; boundary=x' } }],
    ['416', { kind: 'status', status: 416 }],
  ] as const)('refuses %s as a wrong answer', async (what, fault) => {
    failBlobs(fault);
    const isAboutParts = what.includes('part');
    const range = isAboutParts ? { ...whole, end: bytes.length - 1 } : whole;
    await expect(read(open(connect(), range))).rejects.toMatchObject({ code: 'ORIGIN_BAD_ANSWER' });
  });

  it.each([
    [401, 'ORIGIN_UNAUTHORIZED'],
    [403, 'ORIGIN_FORBIDDEN'],
    [404, 'ORIGIN_NOT_FOUND'],
    [418, 'ORIGIN_BAD_ANSWER'],
    [429, 'ORIGIN_RATE_LIMITED'],
    [500, 'ORIGIN_UNAVAILABLE'],
    [503, 'ORIGIN_UNAVAILABLE'],
  ])('turns status %d into %s', async (status, code) => {
    registry.fail({ fault: { kind: 'status', status, headers: { 'retry-after': '3600' } } });
    const origin = connect();
    await expect(open(origin)).rejects.toMatchObject({ code, details: { namespace: registry.host } });
  });

  it.each([502, 503, 504])('asks again after one %d', async (status) => {
    registry.fail({ times: 1, fault: { kind: 'status', status } });
    expect(await connect().statBlob(repository(), blob.digest, { signal })).toEqual({ sizeBytes: bytes.length });
    expect(registry.requests).toHaveLength(2);
  });

  it('asks again after a connection that was closed without an answer', async () => {
    registry.fail({ times: 2, fault: { kind: 'hang-up' } });
    expect(await connect().statBlob(repository(), blob.digest, { signal })).toEqual({ sizeBytes: bytes.length });
  });

  it.each([
    [1, 0],
    [3, 1],
  ])('tells who waits for a tag of the trouble it has, not of an accident (failures: %d)', async (times, told) => {
    registry.fail({ times, fault: { kind: 'hang-up' } });
    let troubles = 0;
    const onTrouble = () => {
      troubles += 1;
    };
    await connect({ retries: 3 }).resolveTag(repository(), 'latest', { signal, onTrouble });
    expect(troubles).toBe(told);
  });

  it('does not ask again after a 500', async () => {
    registry.fail({ fault: { kind: 'status', status: 500 } });
    await expect(connect().statBlob(repository(), blob.digest, { signal })).rejects.toThrow();
    expect(registry.requests).toHaveLength(1);
  });

  it('gives up an origin that never answers, within the time for an answer', async () => {
    registry.fail({ fault: { kind: 'silence' } });
    const origin = connect({ retries: 0 });
    const call = origin.resolveTag(repository(), 'latest', { signal });
    await expect(call).rejects.toMatchObject({ code: 'ORIGIN_UNAVAILABLE' });
  });

  it('gives up retrying at the deadline', async () => {
    registry.fail({ fault: { kind: 'silence' } });
    const origin = connect({
      retries: 20,
      timeouts: { ...quickSettings.timeouts, headersMs: 60_000, deadlineMs: 200 },
    });
    const call = origin.resolveTag(repository(), 'latest', { signal });
    await expect(call).rejects.toMatchObject({ code: 'ORIGIN_UNAVAILABLE', details: { stage: 'deadline' } });
  });

  it('waits out a short Retry-After', async () => {
    registry.fail({ times: 1, fault: { kind: 'status', status: 429, headers: { 'retry-after': '1' } } });
    const startedMs = performance.now();
    await connect().statBlob(repository(), blob.digest, { signal });
    expect(performance.now() - startedMs).toBeGreaterThan(950);
    expect(registry.requests).toHaveLength(2);
  });

  it('sends nothing until a long Retry-After is over', async () => {
    registry.fail({ times: 1, fault: { kind: 'status', status: 429, headers: { 'retry-after': '100' } } });
    const origin = connect();
    for (let index = 0; index < 3; index += 1) {
      const call = origin.statBlob(repository(), blob.digest, { signal });
      await expect(call).rejects.toMatchObject({ code: 'ORIGIN_RATE_LIMITED' });
    }
    expect(registry.requests).toHaveLength(1);
    expect(origin.status()).toMatchObject([{ state: 'limited' }]);
    expect(health.conditions().map(({ code }) => code)).toContain('ORIGIN_RATE_LIMITED');
  });

  it('opens the breaker after failures in a row, sends nothing, and recovers by a probe', async () => {
    const remove = registry.fail({ fault: { kind: 'status', status: 500 } });
    const origin = connect({ breakerFailures: 3, breakerPauseMs: 1000, retries: 0 });
    const stat = () => origin.statBlob(repository(), blob.digest, { signal });
    for (let index = 0; index < 3; index += 1)
      await expect(stat()).rejects.toMatchObject({ code: 'ORIGIN_UNAVAILABLE' });
    await expect(stat()).rejects.toMatchObject({ code: 'ORIGIN_BREAKER_OPEN' });
    expect(registry.requests).toHaveLength(3);
    expect(origin.status()).toMatchObject([{ state: 'open', failures: 3 }]);
    expect(health.conditions().map(({ code }) => code)).toContain('ORIGIN_BREAKER_OPEN');
    remove();
    await expect.poll(stat, patience).toEqual({ sizeBytes: bytes.length });
    expect(health.conditions().map(({ code }) => code)).not.toContain('ORIGIN_BREAKER_OPEN');
  });

  it('does not open the breaker for answers that are merely no', async () => {
    registry.fail({ fault: { kind: 'status', status: 404 } });
    const origin = connect({ breakerFailures: 2 });
    for (let index = 0; index < 5; index += 1) {
      const call = origin.statBlob(repository(), blob.digest, { signal });
      await expect(call).rejects.toMatchObject({ code: 'ORIGIN_NOT_FOUND' });
    }
  });

  describe('with manifests', () => {
    it('asks once more when the digest is wrong, and gives up when it stays wrong', async () => {
      const digest = digestOf(manifest);
      registry.fail({ times: 1, kinds: ['manifest-get'], fault: { kind: 'corrupt', atByte: 3 } });
      const origin = connect();
      expect((await origin.fetchManifest(repository(), digest, { signal })).digest).toBe(digest);
      registry.fail({ kinds: ['manifest-get'], fault: { kind: 'corrupt', atByte: 3 } });
      const call = origin.fetchManifest(repository(), digest, { signal });
      await expect(call).rejects.toMatchObject({ code: 'ORIGIN_BAD_ANSWER' });
    });

    it('asks again after a cut', async () => {
      registry.fail({ times: 1, kinds: ['manifest-get'], fault: { kind: 'cut', afterBytes: 10 } });
      const fetched = await connect().fetchManifest(repository(), digestOf(manifest), { signal });
      expect(Buffer.from(fetched.bytes).equals(manifest)).toBe(true);
    });

    it('refuses one that is too large, announced or not', async () => {
      const large = { mediaType, bytes: Buffer.alloc(5 * 1024 * 1024, 32) };
      const digest = registry.putManifest(name, large, ['large']);
      const origin = connect();
      const code = 'ORIGIN_BAD_ANSWER';
      await expect(origin.fetchManifest(repository(), digest, { signal })).rejects.toMatchObject({ code });
      await expect(origin.resolveTag(repository(), 'large', { signal })).rejects.toMatchObject({ code });
      registry.fail({ fault: { kind: 'without-headers', names: ['content-length'] } });
      await expect(origin.fetchManifest(repository(), digest, { signal })).rejects.toMatchObject({ code });
    });

    it('fetches one of a sha512 digest', async () => {
      const digest = digestOf(manifest, 'sha512');
      registry.putManifest(name, { mediaType, bytes: manifest, digest });
      expect((await connect().fetchManifest(repository(), digest, { signal })).digest).toBe(digest);
    });

    it('takes the type from the manifest where the origin says only JSON', async () => {
      registry.fail({
        fault: { kind: 'with-headers', headers: { 'content-type': 'application/json; charset=utf-8' } },
      });
      const tag = await connect().resolveTag(repository(), 'latest', { signal });
      expect(tag).toMatchObject({ mediaType, digest: digestOf(manifest), sizeBytes: manifest.length });
    });
  });

  describe('with tags', () => {
    const expected = { digest: digestOf(manifest), mediaType, sizeBytes: manifest.length };
    it.each([
      ['refuses HEAD', { kind: 'status', status: 405 }],
      ['names no digest', { kind: 'without-headers', names: ['docker-content-digest'] }],
      ['names no length', { kind: 'without-headers', names: ['content-length'] }],
    ] as const)('resolves one by GET when the origin %s', async (_what, fault) => {
      registry.fail({ kinds: ['manifest-head'], fault });
      expect(await connect().resolveTag(repository(), 'latest', { signal })).toMatchObject(expected);
      expect(registry.requests.map(({ method }) => method)).toEqual(['HEAD', 'GET']);
    });

    it('revalidates by ETag where only GET answers', async () => {
      registry.fail({ kinds: ['manifest-head'], fault: { kind: 'status', status: 405 } });
      const origin = connect();
      const known = await origin.resolveTag(repository(), 'latest', { signal });
      registry.fail({
        kinds: ['manifest-get'],
        when: ({ request }) => request.headers['if-none-match'] === known.etag,
        fault: { kind: 'status', status: 304, body: '' },
      });
      expect(await origin.resolveTag(repository(), 'latest', { signal, known })).toBe(known);
    });

    it('refuses a GET whose bytes are not what its header says', async () => {
      registry.fail({ kinds: ['manifest-head'], fault: { kind: 'status', status: 405 } });
      registry.fail({ kinds: ['manifest-get'], fault: { kind: 'corrupt', atByte: 1 } });
      const call = connect().resolveTag(repository(), 'latest', { signal });
      await expect(call).rejects.toMatchObject({ code: 'ORIGIN_BAD_ANSWER' });
    });

    it('refuses a sign-in page', async () => {
      registry.fail({ fault: { kind: 'html-page' } });
      const call = connect().resolveTag(repository(), 'latest', { signal });
      await expect(call).rejects.toMatchObject({ code: 'ORIGIN_BAD_ANSWER' });
    });

    it('refuses a list that is no list', async () => {
      registry.fail({ kinds: ['tags'], fault: { kind: 'status', status: 200, body: '{"tags":"all of them"}' } });
      const call = connect().listTags(repository(), {}, { signal });
      await expect(call).rejects.toMatchObject({ code: 'ORIGIN_BAD_ANSWER' });
    });
  });

  it('frees its slot when it is aborted in the middle, at a resume, and before it is read', async () => {
    const origin = connect({ parallelRequests: 1 });
    const openWith = (controller: AbortController) =>
      origin.openBlob(repository(), blob.digest, whole, { signal: controller.signal });
    const unread = new AbortController();
    await openWith(unread);
    unread.abort(new Error('unread'));

    failBlobs({ kind: 'cut', afterBytes: 300_000 }, 1);
    registry.fail({ kinds: ['blob-get'], after: 1, times: 1, fault: { kind: 'silence' } });
    const resuming = new AbortController();
    const reading = read(openWith(resuming));
    const outcome = expect(reading).rejects.toThrow('resuming');
    await expect.poll(() => registry.counters.byKind['blob-get'], patience).toBe(3);
    resuming.abort(new Error('resuming'));
    await outcome;

    const middle = new AbortController();
    const chunks = (await openWith(middle)).chunks[Symbol.asyncIterator]();
    await chunks.next();
    middle.abort(new Error('middle'));
    await expect(chunks.next()).rejects.toThrow('middle');
    expect((await read(open(origin))).equals(bytes)).toBe(true);
  });

  it('tells a size by a range of one byte where HEAD does not', async () => {
    registry.fail({ kinds: ['blob-head'], fault: { kind: 'without-headers', names: ['content-length'] } });
    expect(await connect().statBlob(repository(), blob.digest, { signal })).toEqual({ sizeBytes: bytes.length });
  });

  it('sends no more bodies at once than allowed, and small requests beside them', async () => {
    const large = buildGeneratedBlob(9, 8 * 1024 * 1024);
    registry.putBlob(name, large);
    const origin = connect({ parallelRequests: 2 });
    const range = { start: 0, end: large.sizeBytes, sizeBytes: large.sizeBytes };
    const openLarge = () => origin.openBlob(repository(), large.digest, range, { signal });
    const bodies = await Promise.all([openLarge(), openLarge()]);
    const third = openLarge();
    await origin.resolveTag(repository(), 'latest', { signal });
    expect(registry.counters.byKind['blob-get']).toBe(2);
    await bodies[0]?.chunks[Symbol.asyncIterator]().return?.();
    await read(third);
    expect(registry.counters.byKind['blob-get']).toBe(3);
    await bodies[1]?.chunks[Symbol.asyncIterator]().return?.();
  });

  it('does not read ahead of a consumer that does not read', async () => {
    const large = buildGeneratedBlob(10, 64 * 1024 * 1024);
    registry.putBlob(name, large);
    const origin = connect();
    const range = { start: 0, end: large.sizeBytes, sizeBytes: large.sizeBytes };
    const body = await origin.openBlob(repository(), large.digest, range, { signal });
    const chunks = body.chunks[Symbol.asyncIterator]();
    await chunks.next();
    // Longer than the stall time: a paused body is not a stalled one.
    await new Promise((resolve) => setTimeout(resolve, 3 * quickSettings.timeouts.stallMs));
    expect(registry.counters.blobBodyBytes).toBeLessThan(16 * 1024 * 1024);
    expect((await chunks.next()).done).toBe(false);
    await chunks.return?.();
  });

  it('holds a byte rate', async () => {
    const origin = connect({ rateBytesPerSecond: 1_000_000 });
    const startedMs = performance.now();
    await read(open(origin));
    const seconds = (performance.now() - startedMs) / 1000;
    expect(seconds).toBeGreaterThan(0.75);
    expect(seconds).toBeLessThan(20);
  });

  it('gives few bytes at a time under a rate, so that nobody takes it for silent', async () => {
    const { chunks } = await open(connect({ rateBytesPerSecond: 200_000 }), { ...whole, end: 150_000 });
    const steps: Uint8Array[] = [];
    for await (const chunk of chunks) steps.push(chunk);
    expect(Math.max(...steps.map(({ length }) => length))).toBeLessThanOrEqual(20_000);
    expect(Buffer.concat(steps).equals(bytes.subarray(0, 150_000))).toBe(true);
  });

  describe('with redirects', () => {
    it('follows one and goes straight there for the next range', async () => {
      const store = await startChaosRegistry();
      opened.push(store);
      store.putBlob(name, blob);
      failBlobs({ kind: 'redirect', to: store.url });
      const origin = connect();
      for (const start of [0, 1000, 2000]) {
        const range = { start, end: start + 1000, sizeBytes: bytes.length };
        expect((await read(open(origin, range))).equals(bytes.subarray(start, start + 1000))).toBe(true);
      }
      expect(registry.counters.byKind['blob-get']).toBe(1);
      expect(store.counters.byKind['blob-get']).toBe(3);
      store.fail({ fault: { kind: 'status', status: 403 } });
      registry.clearFaults();
      await read(open(origin));
      expect(registry.counters.byKind['blob-get']).toBe(2);
    });

    it('follows no more than five', async () => {
      failBlobs({ kind: 'redirect', to: registry.url });
      await expect(open(connect({ retries: 0 }))).rejects.toMatchObject({ code: 'ORIGIN_BAD_ANSWER' });
      expect(registry.counters.byKind['blob-get']).toBe(6);
    });

    it('refuses one to a name of another scheme', async () => {
      failBlobs({ kind: 'redirect', to: 'file://' });
      await expect(open(connect())).rejects.toMatchObject({ code: 'ORIGIN_REALM_REFUSED' });
    });
  });
});
