import { afterEach, describe, expect, it } from 'vitest';
import { planPieces } from '../../src/content/piece-plan.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { OriginError } from '../../src/origin/errors.ts';
import {
  createMemoryOrigin,
  type MemoryOrigin,
  type MemoryOriginOptions,
} from '../../src/origin/memory/memory-origin.ts';
import { generateIdentity } from '../../src/peer/identity.ts';
import { createMemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { createMemorySwarm } from '../../src/swarm/memory/memory-swarm.ts';
import type { Download, Swarm } from '../../src/swarm/swarm.ts';
import { randomBytes } from '../support/image-builder.ts';
import { eventually } from '../support/image-fleet.ts';

const repository = { namespace: 'docker.io', name: 'g/r' };
const { signal } = new AbortController();
const content = randomBytes(1, 3 * 1024 * 1024 + 11);
const digest = digestOf(content);
const sizeBytes = content.length;
const { pieceBytes } = planPieces(sizeBytes);

async function readAll(download: Download, start = 0, end = download.sizeBytes): Promise<Buffer> {
  const reader = download.openReader({ start, end });
  const bytes = Buffer.alloc(end - start);
  try {
    for (let at = 0; ; ) {
      const count = await reader.read(bytes.subarray(at), start + at, signal);
      if (count === 0) return bytes.subarray(0, at);
      at += count;
    }
  } finally {
    reader.close();
  }
}

describe('the memory swarm keeps the contract of swarm.ts', () => {
  let store: Store;
  let origin: MemoryOrigin;
  let swarm: Swarm & AsyncDisposable;
  const start = async (options: MemoryOriginOptions = {}, peers?: Parameters<typeof createMemorySwarm>[0]['peers']) => {
    store = createMemoryStore({ clock: systemClock });
    origin = createMemoryOrigin(options);
    origin.putBlob(repository, content);
    const identity = await generateIdentity();
    const deps = { blobs: store.blobs, origin, identity, clock: systemClock };
    swarm = createMemorySwarm(peers === undefined ? deps : { ...deps, peers });
  };
  const fetch = (wanted = digest, size = sizeBytes): Download =>
    swarm.fetch([{ digest: wanted, sizeBytes: size, repository }])[0]!;
  const opened = () => origin.calls.filter(({ operation }) => operation === 'openBlob').length;
  afterEach(() => swarm[Symbol.asyncDispose]());

  it('shares one download among all who ask, and ends with the blob in the store', async () => {
    await start();
    const download = fetch();
    expect(fetch()).toBe(download);
    expect(swarm.findDownload(digest)).toBe(download);
    await download.done;
    expect((await store.blobs.findBlob(digest))?.sizeBytes).toBe(sizeBytes);
    expect(opened()).toBe(1);
    expect(download.transfer()).toMatchObject({ state: 'complete', bytes: { origin: sizeBytes, peer: 0, local: 0 } });
    await eventually(() => swarm.findDownload(digest) === undefined);
    expect(swarm.transfers()).toMatchObject([{ digest, state: 'complete' }]);
    await fetch().done;
    expect(opened()).toBe(1);
  });

  it('gives pieces while it works and withholds the tail of each range until the digest is known', async () => {
    const rest = Promise.withResolvers<void>();
    await start({
      async *alterBody(_call, chunks) {
        let sent = 0;
        for await (const chunk of chunks) {
          if (sent + chunk.length >= sizeBytes) await rest.promise;
          yield chunk;
          sent += chunk.length;
        }
      },
    });
    const download = fetch();
    const whole = download.openReader({ start: 0, end: sizeBytes });
    const part = download.openReader({ start: 0, end: 1000 });
    const buffer = Buffer.alloc(sizeBytes);
    let at = 0;
    while (at < sizeBytes - pieceBytes) at += await whole.read(buffer.subarray(at), at, signal);
    expect(at).toBe(sizeBytes - pieceBytes);
    const waiting = new AbortController();
    const pending = [
      whole.read(buffer.subarray(at), at, waiting.signal),
      part.read(Buffer.alloc(1), 0, waiting.signal),
    ];
    await new Promise((resolve) => setImmediate(resolve));
    waiting.abort(new DOMException('enough', 'AbortError'));
    for (const read of pending) await expect(read).rejects.toThrow('enough');
    rest.resolve();
    while (at < sizeBytes) at += await whole.read(buffer.subarray(at), at, signal);
    expect(Buffer.compare(buffer, content)).toBe(0);
    expect(await whole.read(buffer, sizeBytes, signal)).toBe(0);
    whole.close();
    part.close();
  });

  it('goes on when its readers leave', async () => {
    await start();
    const download = fetch();
    download.openReader({ start: 0, end: 10 }).close();
    await download.done;
  });

  it('never completes on wrong bytes, and starts anew the next time', async () => {
    let isWrong = true;
    await start({
      async *alterBody(_call, chunks) {
        for await (const chunk of chunks) {
          const altered = Uint8Array.from(chunk);
          if (isWrong) altered[5] = (altered[5] ?? 0) ^ 1;
          yield altered;
        }
      },
    });
    const download = fetch();
    await expect(readAll(download)).rejects.toMatchObject({ code: 'SWARM_DIGEST_MISMATCH' });
    await expect(download.done).rejects.toMatchObject({ code: 'SWARM_DIGEST_MISMATCH' });
    expect(await store.blobs.findBlob(digest)).toBeUndefined();
    isWrong = false;
    await eventually(() => swarm.findDownload(digest) === undefined);
    expect(Buffer.compare(await readAll(fetch()), content)).toBe(0);
  });

  it('keeps its pieces when the origin fails, and says why', async () => {
    let cutAt = 2 * 1024 * 1024;
    await start({
      async *alterBody(_call, chunks) {
        let sent = 0;
        for await (const chunk of chunks) {
          if (sent >= cutAt) throw new OriginError('ORIGIN_CUT', 'as the test wants it');
          yield chunk;
          sent += chunk.length;
        }
      },
    });
    await expect(fetch().done).rejects.toMatchObject({
      code: 'SWARM_UNOBTAINABLE',
      details: { originError: 'ORIGIN_CUT' },
    });
    cutAt = Number.POSITIVE_INFINITY;
    await eventually(() => swarm.findDownload(digest) === undefined);
    const again = fetch();
    await again.done;
    expect(again.transfer().bytes.local).toBeGreaterThan(1024 * 1024);
    expect(again.transfer().bytes.origin).toBeLessThan(sizeBytes - 1024 * 1024);
  });

  it('takes the body of an origin without Range from its start', async () => {
    await start({ servesRanges: false });
    expect(Buffer.compare(await readAll(fetch()), content)).toBe(0);
  });

  it('tries the other repositories that name the blob', async () => {
    await start();
    const elsewhere = { namespace: 'docker.io', name: 'not/there' };
    const [download] = swarm.fetch([{ digest, sizeBytes, repository: elsewhere }]);
    swarm.fetch([{ digest, sizeBytes, repository }]);
    await download!.done;
  });

  it('reads from peers before it asks the origin', async () => {
    const other = createMemoryStore({ clock: systemClock });
    await other.blobs.writeBlob(digest, content);
    const { peerId } = await generateIdentity();
    await start({}, () => [{ peer: peerId, blobs: other.blobs }]);
    const download = fetch();
    await download.done;
    expect(opened()).toBe(0);
    expect(download.transfer()).toMatchObject({
      bytes: { origin: 0, peer: sizeBytes },
      peers: [{ peer: peerId, bytes: sizeBytes }],
    });
  });

  it('fetches the empty blob, and refuses another digest of no bytes', async () => {
    await start();
    const empty = origin.putBlob(repository, new Uint8Array());
    await fetch(empty, 0).done;
    expect((await store.blobs.findBlob(empty))?.sizeBytes).toBe(0);
    await expect(fetch(digest, 0).done).rejects.toMatchObject({ code: 'SWARM_DIGEST_MISMATCH' });
  });

  it('stops with the node', async () => {
    await start({ alterBody: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }) });
    const download = fetch();
    const read = readAll(download);
    read.catch(() => {});
    await eventually(() => opened() === 1);
    await swarm[Symbol.asyncDispose]();
    await expect(download.done).rejects.toMatchObject({ code: 'SWARM_STOPPED' });
    await expect(read).rejects.toMatchObject({ code: 'SWARM_STOPPED' });
  });
});
