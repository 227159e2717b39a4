import { EventEmitter } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const v8 = vi.hoisted(() => ({ flags: [] as string[], nurseryBytes: 0 }));
vi.mock('node:v8', () => ({
  setFlagsFromString: (flag: string) => v8.flags.push(flag),
  getHeapSpaceStatistics: () => [
    { space_name: 'old_space', space_size: 2 ** 30 },
    { space_name: 'new_space', space_size: v8.nurseryBytes },
  ],
}));

const MiB = 1024 * 1024;
const fixed = '--semi-space-growth-factor=1';

describe("the daemon's V8 flags", () => {
  let flags: typeof import('../../../src/lib/v8-flags.ts');
  const thread = () => new EventEmitter() as unknown as Worker;
  const taken = () => v8.flags.splice(0);

  beforeEach(async () => {
    vi.useFakeTimers();
    vi.resetModules();
    v8.nurseryBytes = 2 * MiB;
    flags = await import('../../../src/lib/v8-flags.ts');
    taken();
  });

  afterEach(() => {
    vi.useRealTimers();
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
    for (const flag of tuned) expect(plain).not.toContain(flag);
    expect(plain.length).toBeGreaterThanOrEqual(tuned.length);
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
    expect(taken().slice(-tuned.length)).toEqual(tuned);
  });

  it('let the nursery grow to 8 MiB and no further, whatever threads start', () => {
    flags.tuneV8();
    v8.nurseryBytes = 4 * MiB;
    vi.advanceTimersByTime(1_000);
    expect(taken()).not.toContain(fixed);
    v8.nurseryBytes = 8 * MiB;
    vi.advanceTimersByTime(1_000);
    expect(taken()).toEqual([fixed]);
    const one = flags.startWithPlainV8(thread);
    expect(taken()).not.toContain(fixed);
    one.emit('online');
    expect(taken()).toContain(fixed);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('fix the nursery when the thread that starts meanwhile runs', () => {
    flags.tuneV8();
    const one = flags.startWithPlainV8(thread);
    v8.nurseryBytes = 8 * MiB;
    vi.advanceTimersByTime(1_000);
    expect(taken()).not.toContain(fixed);
    one.emit('online');
    expect(taken()).toContain(fixed);
  });

  it('are as Node knows them for whoever asks', () => {
    flags.tuneV8();
    const tuned = taken();
    flags.untuneV8();
    const plain = taken();
    expect(plain).toContain('--semi-space-growth-factor=2');
    for (const flag of tuned) expect(plain).not.toContain(flag);
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
