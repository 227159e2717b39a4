import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChaosRegistry, startChaosRegistry } from '../support/chaos-registry.ts';
import { waitUntil } from '../support/child.ts';
import { pullByHttp } from '../support/http-pull.ts';
import { type BuiltImage, buildGeneratedBlob, buildImage } from '../support/image-builder.ts';
import { type ShoalNode, startNode, startNodes } from '../support/shoal-node.ts';
import { createTempDir } from '../support/temp-dir.ts';

const sha256 = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const bytesOf = async (answer: Response) => new Uint8Array(await answer.arrayBuffer());

describe('one node under many clients', () => {
  const directory = createTempDir('clients');
  let origin: ChaosRegistry;
  let node: ShoalNode;
  let lastSeed = 0;

  /** A blob nobody has asked for yet, at an origin slow enough that all clients meet in the middle of it. */
  const putBlob = (sizeBytes: number) => {
    lastSeed += 1;
    const blob = buildGeneratedBlob(lastSeed, sizeBytes);
    origin.putBlob('library/blobs', blob);
    return { ...blob, url: `${node.registryUrl}/v2/library/blobs/blobs/${blob.digest}` };
  };

  beforeAll(async () => {
    origin = await startChaosRegistry();
    origin.fail({ kinds: ['blob-get'], fault: { kind: 'slow', bytesPerSecond: 8 * 1024 * 1024 } });
    node = await startNode({
      name: 'node',
      directory: directory.path,
      origins: { 'docker.io': { url: origin.url, insecure: true } },
    });
  });

  afterAll(async () => {
    await node?.stop();
    await origin?.[Symbol.asyncDispose]();
    directory[Symbol.dispose]();
  });

  test('ten cold reads at once cost the origin one body', async () => {
    const blob = putBlob(12 * 1024 * 1024);
    const digests = await Promise.all(
      Array.from({ length: 10 }, async () => sha256(await bytesOf(await fetch(blob.url)))),
    );
    expect(new Set(digests)).toEqual(new Set([blob.digest]));
    expect(origin.counters.blobBodyBytesByDigest.get(blob.digest)).toBe(blob.sizeBytes);
  });

  test('a cold range is answered with that range', async () => {
    const blob = putBlob(12 * 1024 * 1024);
    const answer = await fetch(blob.url, { headers: { range: 'bytes=5000000-5000099' } });
    expect(answer.status).toBe(206);
    expect(answer.headers.get('content-range')).toBe(`bytes 5000000-5000099/${blob.sizeBytes}`);
    expect(Buffer.from(await bytesOf(answer))).toEqual(Buffer.from(blob.read(5_000_000, 5_000_100)));
  });

  test('nine of ten clients that leave change nothing for the tenth', async () => {
    const blob = putBlob(12 * 1024 * 1024);
    const leaving = Array.from({ length: 9 }, async (_, index) => {
      const left = new AbortController();
      const answer = await fetch(blob.url, { signal: left.signal });
      const reader = answer.body?.getReader();
      await reader?.read();
      // Each in its own moment of the transfer.
      await new Promise((resolve) => setTimeout(resolve, index * 80));
      left.abort();
    });
    const staying = fetch(blob.url).then(bytesOf);
    await Promise.all(leaving);
    expect(sha256(await staying)).toBe(blob.digest);
    expect(origin.counters.blobBodyBytesByDigest.get(blob.digest)).toBe(blob.sizeBytes);
  });

  test('a blob is fetched to its end although every client has left', async () => {
    const blob = putBlob(8 * 1024 * 1024);
    const left = new AbortController();
    const answer = await fetch(blob.url, { signal: left.signal });
    await answer.body?.getReader().read();
    left.abort();
    await waitUntil(
      'the whole blob to have left the origin',
      () => origin.counters.blobBodyBytesByDigest.get(blob.digest) === blob.sizeBytes,
      { timeoutMs: 60_000 },
    );
    expect(sha256(await bytesOf(await fetch(blob.url)))).toBe(blob.digest);
    expect(origin.counters.blobBodyBytesByDigest.get(blob.digest)).toBe(blob.sizeBytes);
  });
});

describe('ten nodes that pull at once', () => {
  const nodeCount = 10;
  const directory = createTempDir('ten');
  let origin: ChaosRegistry;
  let nodes: ShoalNode[] = [];
  let image: BuiltImage;

  beforeAll(async () => {
    origin = await startChaosRegistry();
    image = await buildImage({
      seed: 10,
      layers: [{ content: 16_000_000 }, { content: 3_000_000 }, { content: 20_000 }],
    });
    origin.put('library/ten', ['v1'], image);
    nodes = await startNodes(nodeCount, {
      directory: join(directory.path, 'nodes'),
      origins: { 'docker.io': { url: origin.url, insecure: true } },
    });
  }, 240_000);

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await origin?.[Symbol.asyncDispose]();
    directory[Symbol.dispose]();
  });

  test('share what the origin gives', async () => {
    // As much as one node could take alone, so that a pull lasts long enough for the nodes to meet.
    origin.fail({ kinds: ['blob-get'], fault: { kind: 'slow', bytesPerSecond: 4 * 1024 * 1024 } });
    const pulled = await Promise.all(nodes.map((node) => pullByHttp(node.registryUrl, 'library/ten', 'v1')));
    expect(new Set(pulled.map(({ digest }) => digest))).toEqual(new Set([image.digest]));
    const imageBytes = pulled[0]?.bytes ?? 0;
    const ratio = origin.counters.blobBodyBytes / imageBytes;
    process.stdout.write(`ten nodes: origin sent ${ratio.toFixed(3)} x the image (${imageBytes} bytes)\n`);
    // The fleet bench holds the strict figure, on capped links and a quiet machine; here ten processes starve each other of CPU, and
    // a turn or two may be taken twice.
    expect(ratio).toBeLessThan(1.2);
  });
});
