import { Writable } from 'node:stream';
import { beforeEach, expect, it, vi } from 'vitest';
import { BufferPool } from '../../../src/lib/buffer-pool.ts';
import type { PieceRun } from '../../../src/peer/bulk.ts';
import { generateIdentity } from '../../../src/peer/identity.ts';
import { buffersPerRun, RunSender } from '../../../src/peer/tls/run-sender.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { makeBlob, type TestBlob } from '../../support/memory-piece-source.ts';
import { patience } from '../../support/patience.ts';

const chunkBytes = 1000;
const sizeBytes = 4500;
const head = 'head\r\n\r\n';

let blob: TestBlob;
let pool: BufferPool;
let socket: SlowSocket;
beforeEach(async () => {
  blob ??= makeBlob(await generateIdentity(), sizeBytes, 9);
  pool = new BufferPool(new FakeClock(), { maxBytes: buffersPerRun * chunkBytes, idleMs: 1000 });
  socket = new SlowSocket();
});

/** Takes each write when told, and counts how many came joined. */
class SlowSocket extends Writable {
  readonly taken: Buffer[] = [];
  joined = 0;
  #take: ((error?: Error) => void) | undefined;

  get isTaking(): boolean {
    return this.#take !== undefined;
  }

  override _write(bytes: Buffer, _encoding: string, callback: (error?: Error) => void): void {
    this.taken.push(Buffer.from(bytes));
    this.#take = callback;
  }

  override _writev(chunks: { chunk: Buffer }[], callback: (error?: Error) => void): void {
    this.joined += chunks.length;
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'buffer', callback);
  }

  async take(error?: Error): Promise<void> {
    await vi.waitFor(() => expect(this.isTaking).toBe(true), patience);
    const take = this.#take;
    this.#take = undefined;
    take?.(error);
  }
}

function run(changes: Partial<PieceRun> = {}): PieceRun {
  return {
    blob: blob.key,
    pieces: blob.pieces,
    start: 0,
    end: sizeBytes,
    read: async (target, position) => blob.bytes.copy(target, 0, position, position + Math.min(target.length, 300)),
    throttle: async () => {},
    release: () => {},
    ...changes,
  };
}

function send(changes: Partial<PieceRun> = {}) {
  const controller = new AbortController();
  const sent: number[] = [];
  const sender = new RunSender(run(changes), pool, chunkBytes, (bytes) => sent.push(bytes));
  const done = sender.send(socket, head, controller.signal);
  done.catch(() => {});
  return { sender, sent, done, controller };
}

/** Until all that can go on without the peer has gone on. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

it('writes the head and each buffer alone, and resolves when the last is taken', async () => {
  const { sender, sent, done } = send();
  for (let writes = 0; writes < 6; writes += 1) await socket.take();
  await done;
  expect(socket.taken.map(({ length }) => length)).toEqual([head.length, 1000, 1000, 1000, 1000, 500]);
  expect(Buffer.concat(socket.taken).equals(Buffer.concat([Buffer.from(head), blob.bytes]))).toBe(true);
  expect(socket.joined).toBe(0);
  expect(sent).toEqual([1000, 1000, 1000, 1000, 500]);
  expect(sender.sentBytes).toBe(sizeBytes);
  expect(sender.isWaitingForPeer).toBe(false);
  expect(pool.usedBytes).toBe(0);
});

it('asks for no more than a step at once, and sends each as it may', async () => {
  const throttled: number[] = [];
  const throttle = async (bytes: number) => void throttled.push(bytes);
  const { sent, done } = send({ stepBytes: 700, end: 2000, throttle });
  for (let writes = 0; writes < 4; writes += 1) await socket.take();
  await done;
  expect([throttled, sent]).toEqual([
    [700, 700, 600],
    [700, 700, 600],
  ]);
});

it('reads one buffer ahead of two writes and no further', async () => {
  const { sender } = send();
  await socket.take();
  await vi.waitFor(() => expect(pool.usedBytes).toBe(3 * chunkBytes), patience);
  for (let turn = 0; turn < 5; turn += 1) await settle();
  expect(pool.usedBytes).toBe(3 * chunkBytes);
  expect(socket.writableLength).toBe(2 * chunkBytes);
  expect(sender.isWaitingForPeer).toBe(true);
});

it('gives back every buffer at a cut, and asks for nothing more', async () => {
  const { sender, done, controller } = send();
  await socket.take();
  await vi.waitFor(() => expect(pool.usedBytes).toBe(3 * chunkBytes), patience);
  const reason = new Error('left');
  controller.abort(reason);
  sender.cut(reason);
  sender.cut(new Error('again'));
  await expect(done).rejects.toBe(reason);
  expect(pool.usedBytes).toBe(0);
  await socket.take();
  await settle();
  expect(pool.usedBytes).toBe(0);
  expect(sender.sentBytes).toBe(0);
});

it('never lends a buffer again whose read it gave up', async () => {
  const reads: Uint8Array[] = [];
  const late = Promise.withResolvers<number>();
  const read = vi.fn((target: Uint8Array) => {
    reads.push(target);
    return late.promise;
  });
  const { sender, done } = send({ read });
  await vi.waitFor(() => expect(reads).toHaveLength(1), patience);
  sender.cut(new Error('left'));
  await expect(done).rejects.toThrow('left');
  expect(pool.usedBytes).toBe(0);
  late.resolve(10);
  await settle();
  expect(read).toHaveBeenCalledTimes(1);
  const next = await pool.acquire(chunkBytes, new AbortController().signal);
  expect(next.buffer).not.toBe(reads[0]?.buffer);
});

it('waits for its turn in the pool and leaves it at a cut', async () => {
  const { signal } = new AbortController();
  const lent = await Promise.all([1, 2, 3].map(() => pool.acquire(chunkBytes, signal)));
  const { sender, done, controller } = send();
  await vi.waitFor(() => expect(pool.waiting).toBe(1), patience);
  controller.abort(new Error('left'));
  sender.cut(controller.signal.reason);
  await expect(done).rejects.toThrow('left');
  expect(pool.waiting).toBe(0);
  for (const buffer of lent) pool.release(buffer);
  expect(pool.usedBytes).toBe(0);
});

it('hands a buffer back that it was lent in the moment of the cut', async () => {
  const { signal } = new AbortController();
  const lent = await Promise.all([1, 2, 3].map(() => pool.acquire(chunkBytes, signal)));
  const { sender, done } = send();
  await vi.waitFor(() => expect(pool.waiting).toBe(1), patience);
  for (const buffer of lent) pool.release(buffer);
  sender.cut(new Error('left'));
  await expect(done).rejects.toThrow('left');
  await settle();
  expect(pool.usedBytes).toBe(0);
});

it.each([
  ['the source ends early', { read: async () => 0 }, /ended 1000 bytes early/],
  ['the source fails', { read: () => Promise.reject(new Error('disk on fire')) }, /disk on fire/],
  ['the rate limit fails', { throttle: () => Promise.reject(new Error('no bytes left')) }, /no bytes left/],
])('fails when %s', async (_case, changes, message) => {
  const { done } = send(changes);
  await expect(done).rejects.toThrow(message);
  expect(pool.usedBytes).toBe(0);
});

it('fails with the write', async () => {
  socket.on('error', () => {});
  const { done } = send();
  await socket.take();
  await socket.take(new Error('EPIPE'));
  await expect(done).rejects.toThrow('EPIPE');
  expect(pool.usedBytes).toBe(0);
});
