import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createInlinePrefixVerifiers } from '../../src/content/inline-prefix-verifiers.ts';
import type { PrefixSource, PrefixVerifiers } from '../../src/content/prefix-verifier.ts';
import { createPrefixVerifiers, startHashThread } from '../../src/content/threaded-prefix-verifiers.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { type Digest, type DigestAlgorithm, digestOf } from '../../src/oci/digest.ts';

const never = new AbortController().signal;
const maxOpen = 8;
const subjects: { name: string; create: () => PrefixVerifiers; usesFiles: boolean }[] = [
  {
    name: 'threaded',
    create: () => createPrefixVerifiers({ logger: silentLogger }, { threads: 2, startAtBytes: 0, maxOpen }),
    usesFiles: true,
  },
  { name: 'inline', create: () => createInlinePrefixVerifiers({ maxOpen }), usesFiles: false },
  {
    name: 'threaded, source without a path',
    create: () => createPrefixVerifiers({ logger: silentLogger }, { threads: 1, startAtBytes: 0, maxOpen }),
    usesFiles: false,
  },
];

let folder = '';
let files = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-verifier-'));
});
afterAll(() => rm(folder, { recursive: true }));

function patterned(sizeBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 1) bytes[at] = (at * 31 + (at >> 9) + seed) & 0xff;
  return bytes;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe.each(subjects)('prefix verifiers: $name', ({ create, usesFiles }) => {
  let verifiers: PrefixVerifiers;
  const opened = () => {
    verifiers = create();
    return verifiers;
  };
  afterEach(() => verifiers.close());

  async function sourceOf(bytes: Buffer): Promise<PrefixSource> {
    const read = async (target: Uint8Array, position: number) => bytes.copy(target, 0, position);
    if (!usesFiles) return { read };
    const path = join(folder, `blob-${files++}`);
    await writeFile(path, bytes);
    return { path, read };
  }

  async function zeros(sizeBytes: number): Promise<PrefixSource> {
    const read = async (target: Uint8Array) => target.fill(0).length;
    if (!usesFiles) return { read };
    const path = join(folder, `blob-${files++}`);
    await writeFile(path, '');
    await truncate(path, sizeBytes);
    return { path, read };
  }

  it.each<[number, DigestAlgorithm]>([
    [0, 'sha256'],
    [1, 'sha256'],
    [512 * 1024, 'sha512'],
    [9 * 1024 * 1024 + 7, 'sha256'],
  ])('computes the digest of %i bytes as %s', async (sizeBytes, algorithm) => {
    const bytes = patterned(sizeBytes, 1);
    const expected = digestOf(bytes, algorithm);
    const verifier = opened().open(expected, await sourceOf(bytes));
    expect(await verifier.finish(sizeBytes, never)).toBe(expected);
    expect(verifier.hashedBytes).toBe(sizeBytes);
  });

  it('may be prepared, once or several times, before and after the first blob', async () => {
    const bytes = patterned(1000, 9);
    const all = opened();
    all.prepare();
    all.prepare();
    const verifier = all.open(digestOf(bytes), await sourceOf(bytes));
    all.prepare();
    expect(await verifier.finish(1000, never)).toBe(digestOf(bytes));
  });

  it('tells the digest of what is there, not the one that was expected', async () => {
    const bytes = patterned(1000, 2);
    const verifier = opened().open(digestOf(Buffer.from('other')), await sourceOf(bytes));
    expect(await verifier.finish(1000, never)).toBe(digestOf(bytes));
  });

  it('hashes as far as it was advanced and waits there', async () => {
    const bytes = patterned(3_000_000, 3);
    const verifier = opened().open(digestOf(bytes), await sourceOf(bytes));
    verifier.advance(1_000_000);
    await until(() => verifier.hashedBytes === 1_000_000);
    verifier.advance(400_000);
    verifier.advance(2_000_000);
    await until(() => verifier.hashedBytes === 2_000_000);
    expect(await verifier.finish(3_000_000, never)).toBe(digestOf(bytes));
  });

  it('gives the same answer to everyone who finishes, and after it', async () => {
    const bytes = patterned(100_000, 4);
    const verifier = opened().open(digestOf(bytes), await sourceOf(bytes));
    const both = await Promise.all([verifier.finish(100_000, never), verifier.finish(100_000, never)]);
    verifier.close();
    expect([...both, await verifier.finish(100_000, never)]).toEqual(Array(3).fill(digestOf(bytes)));
  });

  it('verifies many blobs at once', async () => {
    const all = opened();
    const done = Array.from({ length: maxOpen }, async (_, seed) => {
      const bytes = patterned(2_000_000 + seed, seed);
      const verifier = all.open(digestOf(bytes), await sourceOf(bytes));
      for (let end = 300_000; end < bytes.length; end += 300_000) {
        verifier.advance(end);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await verifier.finish(bytes.length, never)).toBe(digestOf(bytes));
    });
    await Promise.all(done);
  });

  it('lets small blobs pass while a big one is being hashed', async () => {
    // A minute of hashing that costs no disk: however slow the machine, the small ones are done first or the test is not.
    const bigBytes = 64 * 1024 * 1024 * 1024;
    const small = patterned(10, 6);
    const all = opened();
    const big = all.open(digestOf(small), await zeros(bigBytes));
    const sources = await Promise.all([1, 2, 3].map(() => sourceOf(small)));
    const closed = expect(big.finish(bigBytes, never)).rejects.toMatchObject({ code: 'CONTENT_CLOSED' });
    await until(() => big.hashedBytes > 0);
    const passed = sources.map((source) => all.open(digestOf(small), source).finish(10, never));
    expect(await Promise.all(passed)).toEqual(Array(3).fill(digestOf(small)));
    await until(() => all.cpuSeconds > 0);
    big.close();
    await closed;
  });

  it('says CONTENT_SHORT when the bytes end early', async () => {
    const bytes = patterned(5000, 7);
    const verifier = opened().open(digestOf(bytes), await sourceOf(bytes));
    await expect(verifier.finish(5001, never)).rejects.toMatchObject({
      code: 'CONTENT_SHORT',
      details: { positionBytes: 5000 },
    });
    await expect(verifier.finish(5001, never)).rejects.toMatchObject({ code: 'CONTENT_SHORT' });
    verifier.advance(5001);
  });

  it('says CONTENT_READ_FAILED when reading fails, also when nobody waits yet', async () => {
    const read = () => Promise.reject(new Error('EIO'));
    const source = usesFiles ? { path: join(folder, 'absent'), read } : { read };
    const all = opened();
    const verifier = all.open(digestOf(Buffer.alloc(1)), source);
    verifier.advance(1);
    await expect(verifier.finish(2, never)).rejects.toMatchObject({ code: 'CONTENT_READ_FAILED' });
  });

  it('leaves a finish by its signal and lets a later one end', async () => {
    const bytes = patterned(20_000_000, 8);
    const verifier = opened().open(digestOf(bytes), await sourceOf(bytes));
    const aborter = new AbortController();
    const first = verifier.finish(bytes.length, aborter.signal);
    aborter.abort(new Error('enough'));
    await expect(first).rejects.toThrow('enough');
    await expect(verifier.finish(bytes.length, aborter.signal)).rejects.toThrow('enough');
    expect(await verifier.finish(bytes.length, never)).toBe(digestOf(bytes));
  });

  it('refuses calls out of order', async () => {
    const bytes = patterned(1000, 9);
    const verifier = opened().open(digestOf(bytes), await sourceOf(bytes));
    verifier.advance(500);
    await expect(verifier.finish(400, never)).rejects.toThrow(RangeError);
    await verifier.finish(1000, never);
    expect(() => verifier.advance(1001)).toThrow(RangeError);
    await expect(verifier.finish(999, never)).rejects.toThrow(RangeError);
  });

  it('refuses one verifier too many, and allows it again after a close', async () => {
    const bytes = patterned(10, 10);
    const source = await sourceOf(bytes);
    const all = opened();
    const open = Array.from({ length: maxOpen }, () => all.open(digestOf(bytes), source));
    expect(() => all.open(digestOf(bytes), source)).toThrow(expect.objectContaining({ code: 'CONTENT_TOO_MANY_OPEN' }));
    open[0]?.close();
    open[0]?.close();
    expect(await all.open(digestOf(bytes), source).finish(10, never)).toBe(digestOf(bytes));
    expect(await all.open(digestOf(bytes), source).finish(10, never)).toBe(digestOf(bytes));
  });

  it('fails the pending finish of a closed verifier, and of all when everything closes', async () => {
    const bytes = patterned(30_000_000, 11);
    const source = await sourceOf(bytes);
    const all = opened();
    const pending = ['a', 'b', 'c'].map(() => all.open(digestOf(bytes), source));
    const ends = pending.map((verifier) => verifier.finish(bytes.length, never));
    const checks = ends.map((end) => expect(end).rejects.toMatchObject({ code: 'CONTENT_CLOSED' }));
    pending[0]?.close();
    await checks[0];
    await all.close();
    await Promise.all(checks);
    expect(() => all.open(digestOf(bytes), source)).toThrow(expect.objectContaining({ code: 'CONTENT_CLOSED' }));
  });
});

describe('hash threads', () => {
  it('fail what was on them when they die, and are replaced', async () => {
    const workers: Worker[] = [];
    const startThread = () => {
      const worker = startHashThread();
      workers.push(worker);
      return worker;
    };
    const lost: unknown[] = [];
    const logger = { ...silentLogger, warn: (fields: object) => lost.push(fields) };
    const verifiers = createPrefixVerifiers({ logger, startThread }, { threads: 1, startAtBytes: 0, maxOpen });
    const bytes = patterned(4_000_000, 12);
    const path = join(folder, 'lost');
    await writeFile(path, bytes);
    const source: PrefixSource = { path, read: () => Promise.reject(new Error('not used')) };
    const digest: Digest = digestOf(bytes);
    const waiting = verifiers.open(digest, source);
    waiting.advance(1);
    await until(() => waiting.hashedBytes === 1);
    const gone = workers.at(-1)?.terminate();
    await expect(waiting.finish(bytes.length, never)).rejects.toMatchObject({ code: 'CONTENT_THREAD_LOST' });
    await gone;
    expect(await verifiers.open(digest, source).finish(bytes.length, never)).toBe(digest);
    expect(workers).toHaveLength(2);
    expect(lost).toHaveLength(1);
    await verifiers.close();
  });

  it('that cannot even start say why', async () => {
    const startThread = () => new Worker('throw new Error("boom")', { eval: true });
    const lost: object[] = [];
    const logger = { ...silentLogger, warn: (fields: object) => lost.push(fields) };
    const verifiers = createPrefixVerifiers({ logger, startThread }, { threads: 2, startAtBytes: 0, maxOpen });
    const source: PrefixSource = { path: folder, read: () => Promise.reject(new Error('not used')) };
    const verifier = verifiers.open(digestOf(new Uint8Array()), source);
    await expect(verifier.finish(1, never)).rejects.toMatchObject({
      code: 'CONTENT_THREAD_LOST',
      cause: { message: 'boom' },
    });
    expect(lost).toMatchObject([{ error: { message: 'boom' } }]);
    await verifiers.close();
  });

  it('share the blobs', async () => {
    let started = 0;
    const startThread = () => {
      started += 1;
      return startHashThread();
    };
    const verifiers = createPrefixVerifiers(
      { logger: silentLogger, startThread },
      { threads: 2, startAtBytes: 0, maxOpen },
    );
    const bytes = patterned(1000, 13);
    const path = join(folder, 'shared');
    await writeFile(path, bytes);
    const source: PrefixSource = { path, read: () => Promise.reject(new Error('not used')) };
    const open = Array.from({ length: 4 }, () => verifiers.open(digestOf(bytes), source));
    for (const verifier of open) verifier.advance(1);
    expect(started).toBe(2);
    const found = await Promise.all(open.map((verifier) => verifier.finish(1000, never)));
    expect(new Set(found)).toEqual(new Set([digestOf(bytes)]));
    await verifiers.close();
  });

  it('start for the first blob of which enough is there, or all', async () => {
    let started = 0;
    const startThread = () => {
      started += 1;
      return startHashThread();
    };
    const options = { threads: 1, startAtBytes: 500, maxOpen };
    const verifiers = createPrefixVerifiers({ logger: silentLogger, startThread }, options);
    const bytes = patterned(1000, 14);
    const path = join(folder, 'begun');
    await writeFile(path, bytes);
    const source: PrefixSource = { path, read: () => Promise.reject(new Error('not used')) };
    const verifier = verifiers.open(digestOf(bytes), source);
    verifier.advance(499);
    expect(started).toBe(0);
    verifier.advance(500);
    expect(started).toBe(1);
    expect(await verifier.finish(1000, never)).toBe(digestOf(bytes));
    verifiers.open(digestOf(bytes), source).close();
    expect(await verifiers.open(digestOf(bytes), source).finish(1000, never)).toBe(digestOf(bytes));
    await verifiers.close();
  });
});
