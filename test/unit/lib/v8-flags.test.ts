import { EventEmitter } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { beforeEach, describe, expect, it, vi } from 'vitest';

const set = vi.hoisted(() => ({ flags: [] as string[] }));
vi.mock('node:v8', () => ({ setFlagsFromString: (flag: string) => set.flags.push(flag) }));

describe("the daemon's V8 flags", () => {
  let flags: typeof import('../../../src/lib/v8-flags.ts');
  const thread = () => new EventEmitter() as unknown as Worker;
  const taken = () => set.flags.splice(0);

  beforeEach(async () => {
    vi.resetModules();
    flags = await import('../../../src/lib/v8-flags.ts');
    taken();
  });

  it('are left alone in a process that is not tuned', () => {
    flags.startWithPlainV8(thread).emit('online');
    expect(taken()).toEqual([]);
  });

  it('are at their defaults while threads start, and back when the last of them runs or is gone', () => {
    flags.tuneV8();
    const tuned = taken();
    const one = flags.startWithPlainV8(thread);
    const plain = taken();
    expect(plain).toHaveLength(tuned.length);
    expect(plain).not.toEqual(tuned);
    const other = flags.startWithPlainV8(thread);
    one.emit('online');
    one.emit('exit');
    expect(taken()).toEqual([]);
    other.emit('exit');
    expect(taken()).toEqual(tuned);
  });

  it('are back when a thread cannot be started', () => {
    flags.tuneV8();
    const tuned = taken();
    const failing = () => {
      throw new Error('no thread');
    };
    expect(() => flags.startWithPlainV8(failing)).toThrow('no thread');
    expect(taken().slice(tuned.length)).toEqual(tuned);
  });

  it('name defaults that V8 has', async () => {
    const { execFileSync } = await import('node:child_process');
    flags.tuneV8();
    taken();
    flags.startWithPlainV8(thread);
    const options = execFileSync(process.execPath, ['--v8-options'], { encoding: 'utf8' });
    for (const flag of taken()) expect(options).toContain(`default: ${flag}\n`);
  });
});
