import { describe, expect, it } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { createMemoryOrigin } from '../../src/origin/memory/memory-origin.ts';
import { flipping, lying } from '../support/lying-sources.ts';
import { seededBytes } from '../support/seeded-bytes.ts';
import { calmSwarmOptions, startSwarmFleet } from '../support/swarm-fleet.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const repository = { namespace: 'origin.test', name: 'library/demo' };

function blobAt(origin: ReturnType<typeof createMemoryOrigin>, sizeBytes: number, seed = 1) {
  const bytes = seededBytes(sizeBytes, seed);
  const digest = digestOf(bytes);
  origin.putBlob(repository, bytes);
  return { bytes, request: { digest, sizeBytes, repository } };
}

async function readAll(
  download: {
    openReader: (range: { start: number; end: number }) => {
      read: (t: Uint8Array, p: number, s: AbortSignal) => Promise<number>;
      close: () => void;
    };
  },
  sizeBytes: number,
) {
  const reader = download.openReader({ start: 0, end: sizeBytes });
  const bytes = Buffer.alloc(sizeBytes);
  const signal = AbortSignal.timeout(60_000);
  let position = 0;
  while (position < sizeBytes) {
    const count = await reader.read(bytes.subarray(position, position + 100_000), position, signal);
    if (count === 0) break;
    position += count;
  }
  reader.close();
  return bytes.subarray(0, position);
}

describe('swarm of nodes', () => {
  it('takes each byte from the origin once and gives every node the whole blob', async () => {
    const origin = createMemoryOrigin();
    const { bytes, request } = blobAt(origin, 9 * MiB + 17);
    await using fleet = await startSwarmFleet(5, origin, { swarm: calmSwarmOptions });
    const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
    const read = await Promise.all(downloads.map((download) => readAll(download, request.sizeBytes)));
    await Promise.all(downloads.map((download) => download.done));
    for (const copy of read) expect(digestOf(copy)).toBe(request.digest);
    expect(origin.sentBytes).toBeLessThanOrEqual(bytes.length * 1.05);
    for (const node of fleet.nodes)
      expect(await node.store.blobs.findBlob(request.digest)).toMatchObject({ sizeBytes: bytes.length });
    const peers = fleet.nodes[0]!.swarm.peers();
    expect(peers.some(({ receivedBytes }) => receivedBytes > 0)).toBe(true);
    expect(peers.filter(({ rateBytesPerSecond }) => rateBytesPerSecond > 0)).toEqual([]);
  });

  it('fetches a lone blob from the origin without any peer', async () => {
    const origin = createMemoryOrigin();
    const { request } = blobAt(origin, 3 * MiB);
    await using fleet = await startSwarmFleet(1, origin);
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    await download!.done;
    expect(download!.transfer()).toMatchObject({ state: 'complete', bytes: { origin: 3 * MiB, peer: 0, local: 0 } });
  });

  it('completes the empty blob', async () => {
    const origin = createMemoryOrigin();
    const { request } = blobAt(origin, 0);
    await using fleet = await startSwarmFleet(1, origin);
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    await download!.done;
    expect(await fleet.nodes[0]!.store.blobs.findBlob(request.digest)).toMatchObject({ sizeBytes: 0 });
  });

  it('gets everything from a seed when the origin is gone', async () => {
    const origin = createMemoryOrigin();
    const { request } = blobAt(origin, 5 * MiB);
    const empty = createMemoryOrigin();
    await using fleet = await startSwarmFleet(4, empty, {
      swarm: calmSwarmOptions,
      origin: (index) => (index === 0 ? origin : empty),
    });
    await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
    const rest = fleet.nodes.slice(1).map((node) => node.swarm.fetch([request])[0]!);
    await Promise.all(rest.map((download) => download.done));
    for (const download of rest) expect(download.transfer().bytes).toMatchObject({ origin: 0, peer: 5 * MiB });
  });

  it('fails clearly and soon when nobody has the blob', async () => {
    const origin = createMemoryOrigin();
    const request = { digest: digestOf(Buffer.from('nowhere')), sizeBytes: 7, repository };
    await using fleet = await startSwarmFleet(3, origin);
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    await expect(download!.done).rejects.toMatchObject({ code: 'SWARM_UNOBTAINABLE' });
  });

  it('bans a peer that flips bytes and finishes without them', async () => {
    const origin = createMemoryOrigin();
    const { request } = blobAt(origin, 6 * MiB);
    await using fleet = await startSwarmFleet(4, origin, {
      source: (index, honest) => (index === 0 ? flipping(honest) : honest),
    });
    await fleet.nodes[0]!.swarm.fetch([request])[0]!.done;
    const downloads = fleet.nodes.slice(1).map((node) => node.swarm.fetch([request])[0]!);
    await Promise.all(downloads.map((download) => download.done));
    const liar = fleet.nodes[0]!.identity.peerId;
    const bans = fleet.nodes.slice(1).map((node) => node.swarm.peers().find((peer) => peer.peer === liar)?.ban);
    expect(bans.some((ban) => ban?.reason === 'wrong bytes' && ban.evidence.includes(request.digest))).toBe(true);
  });

  it('convicts a peer that signs wrong pieces by its own signature', async () => {
    const origin = createMemoryOrigin();
    await using fleet = await startSwarmFleet(3, origin, {
      swarm: calmSwarmOptions,
      source: (index, honest, identity) => (index === 0 ? lying(honest, identity) : honest),
    });
    const liar = fleet.nodes[0]!.identity.peerId;
    const honest = fleet.nodes.slice(1);
    const isConvicted = () =>
      honest.some((node) => node.swarm.peers().find((peer) => peer.peer === liar)?.ban !== undefined);
    // One wrong piece may be the origin's fault: who is caught at the first of a blob is banned with a later one.
    for (let blob = 0; blob < 8 && !isConvicted(); blob += 1) {
      const { request } = blobAt(origin, 6 * MiB, blob + 1);
      const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
      await Promise.all(downloads.slice(1).map((download) => download.done));
      for (const node of honest) {
        const read = Buffer.alloc(request.sizeBytes);
        const handle = await node.store.blobs.openBlob(request.digest);
        let position = 0;
        while (position < read.length) position += await handle.read(read.subarray(position), position);
        await handle.close();
        expect(digestOf(read)).toBe(request.digest);
      }
    }
    expect(isConvicted()).toBe(true);
  });

  it('goes on when a node stops in the middle', async () => {
    const origin = createMemoryOrigin();
    const { request } = blobAt(origin, 12 * MiB);
    await using fleet = await startSwarmFleet(4, origin);
    const downloads = fleet.nodes.map((node) => node.swarm.fetch([request])[0]!);
    await readAll({ openReader: () => downloads[0]!.openReader({ start: 0, end: MiB }) } as never, 64 * KiB);
    await fleet.stopNode(1);
    await Promise.all([0, 2, 3].map((index) => downloads[index]!.done));
  });

  it('leaves a reader no wrong byte when the origin sends wrong bytes once', async () => {
    const origin = createMemoryOrigin();
    const { bytes, request } = blobAt(origin, 2 * MiB);
    let isFirst = true;
    const once = {
      ...origin,
      openBlob: async (...args: Parameters<typeof origin.openBlob>) => {
        const body = await origin.openBlob(...args);
        if (!isFirst) return body;
        isFirst = false;
        return {
          ...body,
          chunks: (async function* () {
            for await (const chunk of body.chunks) {
              const copy = Buffer.from(chunk);
              copy[0] = (copy[0] ?? 0) ^ 1;
              yield copy;
            }
          })(),
        };
      },
    };
    await using fleet = await startSwarmFleet(1, once as typeof origin);
    const [download] = fleet.nodes[0]!.swarm.fetch([request]);
    await download!.done;
    const handle = await fleet.nodes[0]!.store.blobs.openBlob(request.digest);
    const read = Buffer.alloc(bytes.length);
    let position = 0;
    while (position < read.length) position += await handle.read(read.subarray(position), position);
    await handle.close();
    expect(digestOf(read)).toBe(request.digest);
  });
});
