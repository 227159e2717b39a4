import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { generateIdentity } from '../../src/peer/identity.ts';
import type { Channel } from '../../src/peer/peer-network.ts';
import { createBulkClient } from '../../src/peer/tls/bulk-client.ts';
import { startBulkServer } from '../../src/peer/tls/bulk-server.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { bulkClientOptions, bulkServerOptions } from '../support/bulk-options.ts';
import { MemoryPieceSource, makeBlob } from '../support/memory-piece-source.ts';
import { startTestNetwork } from '../support/peer-networks.ts';

const { signal } = new AbortController();
const tick = () => new Promise((resolve) => setImmediate(resolve));
let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

it('moves everything rightly through buffers far smaller than what is in flight, with slow consumers', async () => {
  const deps = { clock: systemClock, logger: silentLogger, metrics: noMetrics };
  const identity = await generateIdentity();
  const source = new MemoryPieceSource();
  const blob = makeBlob(identity, 9 * 1024 * 1024 + 77, 11);
  source.add(blob);
  const server = stack.use(
    await startBulkServer({ ...deps, identity, source, isMember: () => true }, bulkServerOptions),
  );
  const bufferBytes = 1024 * 1024;
  const client = stack.use(
    createBulkClient({ ...deps, identity: await generateIdentity() }, { ...bulkClientOptions, bufferBytes }),
  );
  let lentBytes = 0;
  let mostLentBytes = 0;
  const fetchAll = async () => {
    const parts: Buffer[] = [];
    for (let first = 0; first < blob.pieces.length; first += 8) {
      await client.fetchPieces(
        {
          peer: identity.peerId,
          address: server.address,
          blob: blob.key,
          first,
          count: Math.min(8, blob.pieces.length - first),
          async onPiece(_piece, bytes) {
            lentBytes += bytes.length;
            mostLentBytes = Math.max(mostLentBytes, lentBytes);
            parts.push(Buffer.from(bytes));
            for (let turn = 0; turn < 5; turn += 1) await tick();
            // Still ours, still the same bytes.
            expect(Buffer.compare(parts.at(-1) ?? Buffer.alloc(0), bytes)).toBe(0);
            lentBytes -= bytes.length;
          },
        },
        signal,
      );
    }
    return Buffer.compare(Buffer.concat(parts), blob.bytes);
  };
  expect(await Promise.all(Array.from({ length: 6 }, fetchAll))).toEqual([0, 0, 0, 0, 0, 0]);
  expect(mostLentBytes).toBeLessThanOrEqual(bufferBytes);
});

it('holds a sender back while nobody reads, and delivers all in order when somebody does', async () => {
  const [left, right] = [
    stack.use(await startTestNetwork(await generateIdentity())),
    stack.use(await startTestNetwork(await generateIdentity())),
  ];
  await left.dial(right.addresses()[0] ?? '', signal);
  const accepted = Promise.withResolvers<Channel>();
  right.handle('talk', accepted.resolve);
  const channel = await left.openChannel(right.self, 'talk', signal);
  const there = await accepted.promise;
  const count = 18;
  for (let index = 0; index < count; index += 1) {
    channel.send(new Uint8Array(64 * 1024).fill(index));
    for (let turn = 0; turn < 20; turn += 1) await tick();
  }
  expect([channel.isOpen, there.isOpen]).toEqual([true, true]);
  let next = 0;
  for await (const message of there.messages()) {
    expect(message[0]).toBe(next);
    next += 1;
    if (next === count) break;
  }
  expect(next).toBe(count);
});

it('carries a long stream of messages both ways without loss', async () => {
  const [left, right] = [
    stack.use(await startTestNetwork(await generateIdentity())),
    stack.use(await startTestNetwork(await generateIdentity())),
  ];
  await left.dial(right.addresses()[0] ?? '', signal);
  right.handle('echo', (channel) => {
    void (async () => {
      for await (const message of channel.messages()) channel.send(message);
    })();
  });
  const channel = await left.openChannel(right.self, 'echo', signal);
  const inbox = channel.messages()[Symbol.asyncIterator]();
  let received = 0;
  for (let sent = 0; sent < 3000; sent += 1) {
    const message = new Uint8Array(1 + ((sent * 37) % 3000)).fill(sent % 251);
    channel.send(message);
    if (sent - received < 100) continue;
    const { value } = await inbox.next();
    expect(value?.length).toBe(1 + ((received * 37) % 3000));
    expect(value?.[0]).toBe(received % 251);
    received += 1;
  }
  expect(received).toBeGreaterThan(2800);
});
