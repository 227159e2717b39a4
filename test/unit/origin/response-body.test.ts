import { describe, expect, it } from 'vitest';
import { ResponseBody } from '../../../src/origin/http/response-body.ts';

const KiB = 1024;

function start() {
  const steps: string[] = [];
  const body = new ResponseBody(
    { pause: () => steps.push('pause'), resume: () => steps.push('resume'), abort: () => steps.push('abort') },
    () => steps.push('settled'),
  );
  return { steps, body };
}

describe('the body of an answer', () => {
  it('joins small chunks that are queued, up to 64 KiB, in order', async () => {
    const { body } = start();
    for (let at = 0; at < 20; at += 1) body.push(Buffer.alloc(4 * KiB, at));
    const first = await body.read();
    expect(first).toHaveLength(64 * KiB);
    expect([0, 1, 15].map((at) => first?.[at * 4 * KiB])).toEqual([0, 1, 15]);
    expect(await body.read()).toHaveLength(16 * KiB);
    body.settle();
    expect(await body.read()).toBeUndefined();
  });

  it('gives a large chunk as it came, and a small one before it alone', async () => {
    const { body } = start();
    const large = Buffer.alloc(100 * KiB);
    body.push(Buffer.alloc(10));
    body.push(large);
    body.push(Buffer.alloc(20));
    expect(await body.read()).toHaveLength(10);
    expect(await body.read()).toBe(large);
    expect(await body.read()).toHaveLength(20);
  });

  it('stops the connection above its bound and lets it go on when half is read', async () => {
    const { body, steps } = start();
    for (let at = 0; at < 5; at += 1) body.push(Buffer.alloc(60 * KiB));
    expect(steps).toEqual(['pause']);
    await body.read();
    await body.read();
    expect(steps).toEqual(['pause']);
    await body.read();
    expect(steps).toEqual(['pause', 'resume']);
  });
});
