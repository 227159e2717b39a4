import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blobOf } from '../../src/cli/demo/origin-content.ts';
import { systemClock, systemRandom } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import type { Repository } from '../../src/oci/repository.ts';
import { createOrigin } from '../../src/origin/create-origin.ts';
import { OriginError } from '../../src/origin/errors.ts';
import { createMemoryOrigin, type MemoryOriginCall } from '../../src/origin/memory/memory-origin.ts';
import type { Origin, OriginBody } from '../../src/origin/origin.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { startChaosRegistry } from '../support/chaos-registry.ts';
import { randomBytes } from '../support/image-builder.ts';
import { originOptions } from '../support/origin-options.ts';

/** One origin with content, and the ways it must be able to fail. */
interface Bench extends AsyncDisposable {
  readonly origin: Origin;
  readonly repository: Repository;
  putManifest(mediaType: string, bytes: Uint8Array, tags: readonly string[]): Digest;
  putBlob(bytes: Uint8Array): Digest;
  ignoreRanges(): void;
  /** Every body from now on ends after that many bytes. */
  cutBodies(afterBytes: number): void;
  /** Every body from now on stops flowing after that many bytes. */
  stallBodies(afterBytes: number): void;
  refuseAccess(): void;
  goDown(): void;
}

const name = 'team/app';
const limits = { parallelSlots: 4 };

async function createMemoryBench(): Promise<Bench> {
  let fail: (() => Error) | undefined;
  let servesRanges = true;
  let alter = (chunks: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> => chunks;
  const repository = { namespace: 'origin.test', name };
  const options = {
    namespaces: [repository.namespace],
    get servesRanges() {
      return servesRanges;
    },
    beforeCall() {
      if (fail !== undefined) throw fail();
    },
    alterBody: (_call: MemoryOriginCall, chunks: AsyncIterable<Uint8Array>) => alter(chunks),
  };
  const origin = createMemoryOrigin(options);
  const limit = (afterBytes: number) =>
    async function* (chunks: AsyncIterable<Uint8Array>) {
      let rest = afterBytes;
      for await (const chunk of chunks) {
        yield chunk.subarray(0, rest);
        rest -= chunk.length;
        if (rest <= 0) return;
      }
    };
  return {
    origin,
    repository,
    putManifest: (mediaType, bytes, tags) => origin.putManifest(repository, { mediaType, bytes }, tags),
    putBlob: (bytes) => origin.putBlob(repository, bytes),
    ignoreRanges: () => {
      servesRanges = false;
    },
    cutBodies: (afterBytes) => {
      alter = limit(afterBytes);
    },
    stallBodies: (afterBytes) => {
      alter = async function* (chunks) {
        yield* limit(afterBytes)(chunks);
        await new Promise(() => {});
      };
    },
    refuseAccess: () => {
      fail = () => new OriginError('ORIGIN_FORBIDDEN', 'as the test asked');
    },
    goDown: () => {
      fail = () => new OriginError('ORIGIN_UNAVAILABLE', 'as the test asked');
    },
    async [Symbol.asyncDispose]() {},
  };
}

async function createHttpBench(): Promise<Bench> {
  const registry = await startChaosRegistry();
  const origin = createOrigin(
    { clock: systemClock, random: systemRandom, logger: silentLogger, metrics: noMetrics },
    originOptions({ [registry.host]: { parallelRequests: limits.parallelSlots } }),
  );
  return {
    origin,
    repository: { namespace: registry.host, name },
    putManifest: (mediaType, bytes, tags) => registry.putManifest(name, { mediaType, bytes }, tags),
    putBlob: (bytes) => registry.putBlob(name, blobOf(bytes)),
    ignoreRanges: () => registry.fail({ fault: { kind: 'ignore-range' } }),
    cutBodies: (afterBytes) => registry.fail({ kinds: ['blob-get'], fault: { kind: 'cut', afterBytes } }),
    stallBodies: (afterBytes) => registry.fail({ kinds: ['blob-get'], fault: { kind: 'stall', afterBytes } }),
    refuseAccess: () => registry.fail({ fault: { kind: 'status', status: 403 } }),
    goDown: () => registry.fail({ fault: { kind: 'hang-up' } }),
    async [Symbol.asyncDispose]() {
      await origin[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
    },
  };
}

async function readAll(body: OriginBody): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body.chunks) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const mediaType = 'application/vnd.oci.image.manifest.v1+json';
const manifest = Buffer.from('{"schemaVersion":2,"layers":[]}');
const blob = randomBytes(1, 700_000);
const sizeBytes = blob.length;

describe.each([
  ['memory', createMemoryBench],
  ['http', createHttpBench],
])('the %s origin', (_name, createBench) => {
  let bench: Bench;
  let origin: Origin;
  let repository: Repository;
  let digest: Digest;
  const options = { signal: new AbortController().signal };
  beforeEach(async () => {
    bench = await createBench();
    ({ origin, repository } = bench);
    digest = bench.putBlob(blob);
    bench.putManifest(mediaType, manifest, ['b', 'a', 'c']);
  });
  afterEach(() => bench[Symbol.asyncDispose]());
  const open = (start: number, end: number, signal = options.signal) =>
    origin.openBlob(repository, digest, { start, end, sizeBytes }, { signal });

  it('allows its namespaces alone', async () => {
    expect(origin.allows(repository.namespace)).toBe(true);
    expect(origin.allows('elsewhere.test')).toBe(false);
    const call = origin.statBlob({ ...repository, namespace: 'elsewhere.test' }, digest, options);
    await expect(call).rejects.toMatchObject({ code: 'ORIGIN_NOT_ALLOWED' });
  });

  it('tells digest, type and size of what a tag points at', async () => {
    const tag = await origin.resolveTag(repository, 'a', options);
    expect(tag).toMatchObject({ digest: digestOf(manifest), mediaType, sizeBytes: manifest.length });
  });

  it('fetches a manifest byte for byte', async () => {
    const fetched = await origin.fetchManifest(repository, digestOf(manifest), options);
    expect(fetched).toMatchObject({ digest: digestOf(manifest), mediaType });
    expect(Buffer.from(fetched.bytes).equals(manifest)).toBe(true);
  });

  it('tells the size of a blob', async () => {
    expect(await origin.statBlob(repository, digest, options)).toEqual({ sizeBytes });
  });

  it('says that unknown things are not found', async () => {
    const absent = digestOf(Buffer.from('absent'));
    const range = { start: 0, end: 10, sizeBytes: 10 };
    const calls = [
      () => origin.resolveTag(repository, 'absent', options),
      () => origin.fetchManifest(repository, absent, options),
      () => origin.statBlob(repository, absent, options),
      () => origin.openBlob(repository, absent, range, options),
      () => origin.listTags({ ...repository, name: 'absent' }, {}, options),
    ];
    for (const call of calls) await expect(call()).rejects.toMatchObject({ code: 'ORIGIN_NOT_FOUND' });
  });

  it.each([
    [0, sizeBytes],
    [0, 1],
    [sizeBytes - 1, sizeBytes],
    [100_000, 600_000],
    [5, 5],
  ])('gives the bytes from %d to %d', async (start, end) => {
    const body = await open(start, end);
    expect(body.isWhole).toBe(false);
    expect((await readAll(body)).equals(blob.subarray(start, end))).toBe(true);
  });

  it('gives an empty blob', async () => {
    const empty = bench.putBlob(new Uint8Array(0));
    const body = await origin.openBlob(repository, empty, { start: 0, end: 0, sizeBytes: 0 }, options);
    expect((await readAll(body)).length).toBe(0);
  });

  it('refuses a blob of another size than expected', async () => {
    const range = { start: 0, end: sizeBytes + 5, sizeBytes: sizeBytes + 5 };
    const call = origin.openBlob(repository, digest, range, options).then(readAll);
    await expect(call).rejects.toMatchObject({ code: 'ORIGIN_BAD_ANSWER' });
  });

  it('says so when the whole blob comes instead of a range', async () => {
    bench.ignoreRanges();
    const body = await open(1000, 2000);
    expect(body.isWhole).toBe(true);
    expect((await readAll(body)).equals(blob)).toBe(true);
  });

  it('gives good bytes and then a cut when the origin goes on cutting without progress', async () => {
    bench.cutBodies(1000);
    const received: Uint8Array[] = [];
    const reading = (async () => {
      for await (const chunk of (await open(0, sizeBytes)).chunks) received.push(chunk);
    })();
    await expect(reading).rejects.toMatchObject({ code: 'ORIGIN_CUT' });
    const bytes = Buffer.concat(received);
    expect(bytes.equals(blob.subarray(0, bytes.length))).toBe(true);
  });

  it('serves more bodies than it has slots when each is left early', async () => {
    for (let index = 0; index < limits.parallelSlots * 2; index += 1) {
      for await (const chunk of (await open(0, sizeBytes)).chunks) {
        expect(chunk.length).toBeGreaterThan(0);
        break;
      }
    }
    expect((await readAll(await open(0, sizeBytes))).length).toBe(sizeBytes);
  });

  it('ends a stalled body with the reason of its abort', async () => {
    bench.stallBodies(10_000);
    const controller = new AbortController();
    const body = await open(0, sizeBytes, controller.signal);
    const reading = (async () => {
      for await (const chunk of body.chunks) if (chunk.length > 0) controller.abort(new Error('enough'));
    })();
    await expect(reading).rejects.toThrow('enough');
  });

  it('refuses a signal that is already aborted', async () => {
    const signal = AbortSignal.abort(new Error('gone'));
    await expect(origin.statBlob(repository, digest, { signal })).rejects.toThrow('gone');
    await expect(open(0, 10, signal)).rejects.toThrow('gone');
  });

  it('tells a refusal from an outage', async () => {
    bench.refuseAccess();
    await expect(origin.statBlob(repository, digest, options)).rejects.toMatchObject({ code: 'ORIGIN_FORBIDDEN' });
  });

  it('tells an outage', async () => {
    bench.goDown();
    const call = origin.resolveTag(repository, 'a', options);
    await expect(call).rejects.toMatchObject({ code: 'ORIGIN_UNAVAILABLE' });
  });

  it('pages through tags', async () => {
    const first = await origin.listTags(repository, { limit: 2 }, options);
    expect(first).toEqual({ tags: ['a', 'b'], hasMore: true });
    const rest = await origin.listTags(repository, { limit: 2, last: 'b' }, options);
    expect(rest).toEqual({ tags: ['c'], hasMore: false });
    expect(await origin.listTags(repository, {}, options)).toEqual({ tags: ['a', 'b', 'c'], hasMore: false });
  });

  it('reports the namespaces it has met', async () => {
    await readAll(await open(0, 1000));
    expect(origin.status()).toMatchObject([{ namespace: repository.namespace, state: 'ok', receivedBytes: 1000 }]);
  });
});
