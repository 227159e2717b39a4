import { afterEach, describe, expect, it } from 'vitest';
import type { OpenedBlob } from '../../../src/image/images.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { OriginError, type OriginErrorCode } from '../../../src/origin/errors.ts';
import { buildArtifact, randomBytes } from '../../support/image-builder.ts';
import { alterBlobs, createMemoryFleet, eventually, type MemoryFleet, pushImage } from '../../support/image-fleet.ts';

const repository = { namespace: 'docker.io', name: 'library/demo' };
const { signal } = new AbortController();
const content = randomBytes(9, 3 * 1024 * 1024 + 17);
const digest = digestOf(content);

async function readAll(blob: OpenedBlob, start = 0, end = blob.sizeBytes): Promise<Buffer> {
  const reader = await blob.open({ start, end });
  const bytes = Buffer.alloc(end - start);
  try {
    let at = 0;
    for (;;) {
      const count = await reader.read(bytes.subarray(at, at + 100_000), start + at, signal);
      if (count === 0) break;
      at += count;
    }
    expect(at).toBe(end - start);
  } finally {
    await reader.close();
  }
  return bytes;
}

describe('openBlob', () => {
  let fleet: MemoryFleet;
  let failure: OriginErrorCode | undefined;
  const start = () => {
    failure = undefined;
    fleet = createMemoryFleet({
      origin: {
        beforeCall() {
          if (failure !== undefined) throw new OriginError(failure, 'as the test wants it');
        },
      },
    });
    fleet.origin.putBlob(repository, content);
    return fleet;
  };
  afterEach(() => fleet[Symbol.asyncDispose]());

  it('gives ten cold readers one origin body', async () => {
    const node = await start().join();
    const blobs = await Promise.all(Array.from({ length: 10 }, () => node.images.openBlob(repository, digest, signal)));
    for (const bytes of await Promise.all(blobs.map((blob) => readAll(blob)))) {
      expect(Buffer.compare(bytes, content)).toBe(0);
    }
    const calls = fleet.origin.calls.map(({ operation }) => operation);
    expect(calls).toEqual(['statBlob', 'openBlob']);
    expect(fleet.origin.sentBytes).toBe(content.length);
    expect((await node.images.openBlob(repository, digest, signal)).source).toBe('local');
  });

  it('reads any range of a cold and of a held blob', async () => {
    const node = await start().join();
    const cold = await node.images.openBlob(repository, digest, signal);
    expect(cold.source).toBe('swarm');
    expect(Buffer.compare(await readAll(cold, 1_000_000, 2_500_000), content.subarray(1_000_000, 2_500_000))).toBe(0);
    const warm = await node.images.openBlob(repository, digest, signal);
    expect(Buffer.compare(await readAll(warm, 5, 6), content.subarray(5, 6))).toBe(0);
  });

  it('goes on when every reader has left', async () => {
    const node = await start().join();
    const leaving = new AbortController();
    const blob = await node.images.openBlob(repository, digest, leaving.signal);
    const reader = await blob.open({ start: 0, end: blob.sizeBytes });
    const read = reader.read(Buffer.alloc(10), 0, leaving.signal);
    leaving.abort(new DOMException('gone', 'AbortError'));
    await read.catch(() => {});
    await reader.close();
    await eventually(async () => (await node.store.blobs.findBlob(digest)) !== undefined);
  });

  it('takes the size from a manifest that names the blob, and asks nobody for it', async () => {
    const node = await start().join({ images: { prefetch: false } });
    const image = buildArtifact({ seed: 1, sizeBytes: 1000 });
    pushImage(fleet.origin, repository, image);
    await node.images.openManifest(repository, image.digest, signal);
    expect(await node.images.statBlob(repository, image.layers[0]!, signal)).toEqual({ sizeBytes: 1000 });
    await readAll(await node.images.openBlob(repository, image.layers[0]!, signal));
    expect(fleet.origin.calls.map(({ operation }) => operation)).toEqual(['fetchManifest', 'openBlob']);
  });

  it('learns the size from a peer and the bytes too with the origin down', async () => {
    start();
    const [first, second] = [await fleet.join(), await fleet.join()];
    await readAll(await first.images.openBlob(repository, digest, signal));
    failure = 'ORIGIN_UNAVAILABLE';
    expect(await second.images.statBlob(repository, digest, signal)).toEqual({ sizeBytes: content.length });
    const blob = await second.images.openBlob(repository, digest, signal);
    expect(Buffer.compare(await readAll(blob), content)).toBe(0);
  });

  it('answers unknown for what nobody has, and remembers it for a while', async () => {
    const node = await start().join();
    const missing = digestOf(Buffer.from('missing'));
    for (let count = 0; count < 3; count += 1) {
      await expect(node.images.openBlob(repository, missing, signal)).rejects.toMatchObject({
        code: 'IMAGE_BLOB_UNKNOWN',
      });
    }
    expect(fleet.origin.calls).toHaveLength(1);
  });

  for (const [code, told] of [
    ['ORIGIN_UNAUTHORIZED', 'IMAGE_UNAUTHORIZED'],
    ['ORIGIN_FORBIDDEN', 'IMAGE_DENIED'],
    ['ORIGIN_RATE_LIMITED', 'IMAGE_UNAVAILABLE'],
    ['ORIGIN_NOT_ALLOWED', 'IMAGE_NAMESPACE_REFUSED'],
  ] as const) {
    it(`tells ${told} when the origin says ${code}, before and inside a download`, async () => {
      const node = await start().join();
      failure = code;
      await expect(node.images.openBlob(repository, digest, signal)).rejects.toMatchObject({ code: told });
      failure = undefined;
      const { sizeBytes } = await node.images.statBlob(repository, digest, signal);
      expect(sizeBytes).toBe(content.length);
    });
  }

  it('ends a reader with an error and never with wrong bytes', async () => {
    fleet = createMemoryFleet({
      origin: {
        async *alterBody(_call, chunks) {
          for await (const chunk of chunks) {
            const flipped = Uint8Array.from(chunk);
            flipped[0] = (flipped[0] ?? 0) ^ 1;
            yield flipped;
          }
        },
      },
    });
    fleet.origin.putBlob(repository, content);
    const node = await fleet.join();
    const blob = await node.images.openBlob(repository, digest, signal);
    await expect(readAll(blob)).rejects.toMatchObject({ code: 'IMAGE_UNAVAILABLE' });
    expect(await node.store.blobs.findBlob(digest)).toBeUndefined();
  });

  it('goes on from the swarm where a held blob cannot be read, and puts the blob aside', async () => {
    start();
    let isBroken = false;
    const node = await fleet.join({
      deps: ({ store }) => ({
        store: {
          metadata: store.metadata,
          blobs: alterBlobs(store.blobs, {
            async openBlob(wanted: typeof digest) {
              const handle = await store.blobs.openBlob(wanted);
              const read = async (target: Uint8Array, position: number) => {
                if (isBroken && position >= 1_000_000) throw new Error('EIO');
                return await handle.read(target, position);
              };
              return { ...handle, read };
            },
            async quarantineBlob(wanted: typeof digest, reason: string) {
              isBroken = false;
              await store.blobs.quarantineBlob(wanted, reason);
            },
          }),
        },
      }),
    });
    await readAll(await node.images.openBlob(repository, digest, signal));
    isBroken = true;
    const blob = await node.images.openBlob(repository, digest, signal);
    expect(blob.source).toBe('local');
    expect(Buffer.compare(await readAll(blob), content)).toBe(0);
    expect(isBroken).toBe(false);
    expect(fleet.origin.sentBytes).toBe(2 * content.length);
  });
});
