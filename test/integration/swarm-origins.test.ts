import { describe, expect, it } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { OriginError } from '../../src/origin/errors.ts';
import { createMemoryOrigin } from '../../src/origin/memory/memory-origin.ts';
import { demoRepository, KiB, MiB, putBlob, readRange, readStored, until } from '../support/swarm-blobs.ts';
import { calmSwarmOptions, startSwarmFleet } from '../support/swarm-fleet.ts';

const unavailable = () => new OriginError('ORIGIN_UNAVAILABLE', 'connection refused');

/** Slow enough that a claim is heard before the extent is through, so that of two who begin together one stops. */
async function* asOverALink(_call: unknown, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    yield chunk;
  }
}

describe('a swarm and its origin', () => {
  it('streams one body for all nodes when the origin ignores Range', async () => {
    const origin = createMemoryOrigin({ servesRanges: false });
    const { request } = putBlob([origin], 8 * MiB);
    await using fleet = await startSwarmFleet(4, origin, { swarm: calmSwarmOptions });
    const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
    await Promise.all(downloads.map((download) => download.done));
    for (const node of fleet.nodes)
      expect(digestOf(await readStored(node.store.blobs, request.digest))).toBe(request.digest);
    expect(origin.sentBytes / request.sizeBytes).toBeLessThanOrEqual(1.1);
  });

  it('completes a lone node at an origin that ignores Range with one body', async () => {
    const origin = createMemoryOrigin({ servesRanges: false });
    const { request } = putBlob([origin], 20 * MiB);
    await using fleet = await startSwarmFleet(1, origin);
    await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
    expect(origin.sentBytes / request.sizeBytes).toBeLessThanOrEqual(1.05);
  });

  it('takes the turns of nodes whom the origin refuses on those whom it serves', async () => {
    const origin = createMemoryOrigin({ alterBody: asOverALink });
    const empty = createMemoryOrigin();
    const { request } = putBlob([origin], 6 * MiB);
    await using fleet = await startSwarmFleet(4, origin, {
      swarm: calmSwarmOptions,
      origin: (index) => (index < 2 ? empty : origin),
    });
    const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
    await Promise.all(downloads.map((download) => download.done));
    expect(origin.sentBytes / request.sizeBytes).toBeLessThanOrEqual(1.1);
    for (const download of downloads.slice(0, 2)) expect(download.transfer().bytes.origin).toBe(0);
  });

  it('tries the next repository that names the blob when the first does not have it', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 4 * MiB);
    await using fleet = await startSwarmFleet(1, origin);
    const { swarm } = fleet.nodes[0]!;
    const [download] = swarm.fetch([{ ...request, repository: { namespace: 'origin.test', name: 'not/there' } }]);
    swarm.fetch([request]);
    await download!.done;
    expect(download!.transfer().repository).toEqual(demoRepository);
  });

  it('asks the origin again when a refused blob becomes known under another name', async () => {
    const origin = createMemoryOrigin();
    const other = createMemoryOrigin();
    const { request } = putBlob([origin], MiB);
    // Another node that fetches keeps the download waiting.
    await using fleet = await startSwarmFleet(2, origin, {
      swarm: { patienceMs: 5_000 },
      origin: (index) => (index === 0 ? origin : other),
    });
    const [wrong, right] = [{ namespace: 'origin.test', name: 'not/there' }, request.repository];
    const [waiting] = fleet.nodes[0]!.swarm.fetch([{ ...request, repository: wrong }]);
    fleet.nodes[1]!.swarm.fetch([request]);
    waiting!.openReader({ start: 0, end: MiB });
    await until(() => origin.calls.length > 0, 'the first name is refused');
    fleet.nodes[0]!.swarm.fetch([{ ...request, repository: right }]);
    await waiting!.done;
  });

  it('reads no extent twice when half of all requests to the origin fail', async () => {
    let calls = 0;
    const origin = createMemoryOrigin({
      alterBody: asOverALink,
      beforeCall: () => {
        calls += 1;
        if (calls % 2 === 1) throw unavailable();
      },
    });
    const { request } = putBlob([origin], 6 * MiB);
    await using fleet = await startSwarmFleet(3, origin, { swarm: calmSwarmOptions });
    const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
    await Promise.all(downloads.map((download) => download.done));
    expect(origin.sentBytes / request.sizeBytes).toBeLessThanOrEqual(1.1);
  });

  it('finishes from what the swarm holds when the origin dies half-way', async () => {
    let isDead = false;
    const origin = createMemoryOrigin({
      beforeCall: () => {
        if (isDead) throw unavailable();
      },
    });
    const { request } = putBlob([origin], 6 * MiB);
    await using fleet = await startSwarmFleet(4, origin, { swarm: calmSwarmOptions });
    await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
    isDead = true;
    const rest = fleet.nodes.slice(1).map((node) => node.swarm.fetch([request])[0]!);
    await Promise.all(rest.map((download) => download.done));
  });

  it('keeps the pieces of a body that is cut, and asks for the rest alone', async () => {
    let isFirst = true;
    const origin = createMemoryOrigin({
      alterBody: async function* (_call, chunks) {
        let left = isFirst ? 700 * KiB : Number.POSITIVE_INFINITY;
        isFirst = false;
        for await (const chunk of chunks) {
          if (left <= 0) return;
          left -= chunk.length;
          yield chunk;
        }
      },
    });
    const { request } = putBlob([origin], MiB);
    await using fleet = await startSwarmFleet(1, origin);
    await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
    expect(origin.sentBytes).toBeLessThan(1.3 * MiB);
  });

  it.each([
    ['zero bytes', 0],
    ['fewer bytes than it has', 100],
    ['more bytes than it has', 3 * MiB],
  ])('fails clearly when a blob is asked for as %s', async (_, sizeBytes) => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 2 * MiB);
    await using fleet = await startSwarmFleet(2, origin, { swarm: { patienceMs: 300 } });
    const [download] = fleet.nodes[0]!.swarm.fetch([{ ...request, sizeBytes }]);
    await expect(download!.done).rejects.toMatchObject({ code: /SWARM_(UNOBTAINABLE|DIGEST_MISMATCH)/ });
    expect(await fleet.nodes[0]!.store.blobs.findBlob(request.digest)).toBeUndefined();
  });

  it('is not held up by a member that believes in another size', async () => {
    const origin = createMemoryOrigin();
    const { request } = putBlob([origin], 2 * MiB);
    await using fleet = await startSwarmFleet(2, origin);
    const [wrong] = fleet.nodes[0]!.swarm.fetch([{ ...request, sizeBytes: 5 * MiB }]);
    const [right] = fleet.nodes[1]!.swarm.fetch([request]);
    await right!.done;
    await expect(wrong!.done).rejects.toMatchObject({ code: /SWARM_/ });
  });

  it('takes two blobs that share bytes apart as two', async () => {
    const origin = createMemoryOrigin();
    const one = putBlob([origin], 3 * MiB, 1);
    const both = Buffer.concat([one.bytes, one.bytes]);
    origin.putBlob(demoRepository, both);
    const other = { digest: digestOf(both), sizeBytes: both.length, repository: demoRepository };
    await using fleet = await startSwarmFleet(3, origin);
    const downloads = fleet.nodes.flatMap((node) => node.swarm.fetch([one.request, other]));
    await Promise.all(downloads.map((download) => download.done));
    for (const node of fleet.nodes) {
      expect(digestOf(await readStored(node.store.blobs, other.digest))).toBe(other.digest);
      expect(digestOf(await readStored(node.store.blobs, one.request.digest))).toBe(one.request.digest);
    }
  });

  it('brings sixty small blobs to six nodes and takes each from the origin about once', async () => {
    const origin = createMemoryOrigin();
    const blobs = Array.from({ length: 60 }, (_, at) => putBlob([origin], 3 * KiB + at * 700, at + 1));
    const totalBytes = blobs.reduce((sum, blob) => sum + blob.bytes.length, 0);
    await using fleet = await startSwarmFleet(6, origin, { swarm: calmSwarmOptions });
    const requests = blobs.map((blob) => blob.request);
    const downloads = fleet.nodes.flatMap((node) => node.swarm.fetch(requests));
    await Promise.all(downloads.map((download) => download.done));
    expect(origin.sentBytes / totalBytes).toBeLessThanOrEqual(1.1);
    expect(fleet.nodes.every((node) => node.swarm.transfers().every(({ state }) => state === 'complete'))).toBe(true);
  });

  it('fails every reader with the error of the download', async () => {
    const origin = createMemoryOrigin();
    await using fleet = await startSwarmFleet(1, origin);
    const request = { digest: digestOf(Buffer.from('nowhere')), sizeBytes: 7, repository: demoRepository };
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    await expect(readRange(download!, 0, 7)).rejects.toMatchObject({ code: 'SWARM_UNOBTAINABLE' });
  });
});
