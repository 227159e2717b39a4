import { describe, expect, it } from 'vitest';
import { MessageQueue } from '../../../src/peer/message-queue.ts';

describe('a queue of messages', () => {
  it('is bounded for many short messages too', () => {
    const queue = new MessageQueue(64 * 1024);
    let count = 0;
    while (queue.push(new Uint8Array(count % 2))) count += 1;
    expect(count).toBeLessThanOrEqual(1024);
    expect(count).toBeGreaterThan(900);
    expect(queue.bytes).toBeLessThanOrEqual(64 * 1024);
  });

  it('has as much room as before when all is read', async () => {
    const queue = new MessageQueue(1024);
    for (let at = 0; at < 3; at += 1) expect(queue.push(Uint8Array.of(at))).toBe(true);
    const drained = queue.drained(0);
    queue.end(false);
    const read: number[] = [];
    for await (const message of queue.walk(() => {})) read.push(message[0] ?? -1);
    await drained;
    expect([read, queue.bytes]).toEqual([[0, 1, 2], 0]);
  });
});
