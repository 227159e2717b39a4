import { EventEmitter } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { beforeEach, describe, expect, it, vi } from 'vitest';

const v8 = vi.hoisted(() => ({ flags: [] as string[], nurseryBytes: 0, onFlag: (_flag: string): void => undefined }));
vi.mock('node:v8', () => ({
  setFlagsFromString: (flag: string) => {
    v8.flags.push(flag);
    v8.onFlag(flag);
  },
  getHeapSpaceStatistics: () => [
    { space_name: 'old_space', space_size: 2 ** 30 },
    { space_name: 'new_space', space_size: v8.nurseryBytes },
  ],
}));

const vm = vi.hoisted(() => ({ collected: [] as unknown[] }));
vi.mock('node:vm', () => ({ runInNewContext: () => (options: unknown) => vm.collected.push(options) }));

const MiB = 1024 * 1024;
const fixed = '--semi-space-growth-factor=1';
const lasting = '--efficiency-mode';

describe("the daemon's V8 flags", () => {
  let flags: typeof import('../../../src/lib/v8-flags.ts');
  const thread = () => new EventEmitter() as unknown as Worker;
  const taken = () => v8.flags.splice(0);

  beforeEach(async () => {
    vi.resetModules();
    v8.onFlag = () => undefined;
    v8.nurseryBytes = 2 * MiB;
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

  it('last once a thread has started with plain V8, so that its start and what is kept of the program stay fast', () => {
    flags.tuneV8();
    expect(taken()).not.toContain(lasting);
    const one = flags.startWithPlainV8(thread);
    expect(taken()).not.toContain(lasting);
    one.emit('online');
    expect(taken()).toContain(lasting);
    flags.startWithPlainV8(thread).emit('online');
    flags.untuneV8();
    for (const flag of taken()) expect(flag).not.toContain('efficiency');
  });

  it('do not last in a process whose code is to be kept', () => {
    flags.keepV8Restorable();
    flags.tuneV8();
    flags.startWithPlainV8(thread).emit('online');
    expect(taken()).not.toContain(lasting);
  });

  it('that last are known to the V8 they are meant for', async () => {
    flags.tuneV8();
    taken();
    flags.startWithPlainV8(thread).emit('online');
    const { spawnSync } = await import('node:child_process');
    const { stdout, stderr } = spawnSync(process.execPath, [...taken(), '-p', '1 + 1'], { encoding: 'utf8' });
    expect({ stdout, stderr }).toEqual({ stdout: '2\n', stderr: '' });
  });

  it('make the nursery of a pull large by one growth, and leave it so', () => {
    flags.tuneV8();
    taken();
    v8.onFlag = (flag) => {
      const factor = Number(/growth-factor=(\d+)/.exec(flag)?.[1]);
      if (factor > 1) v8.nurseryBytes *= factor;
    };
    flags.widenNursery();
    expect(v8.nurseryBytes).toBe(8 * MiB);
    expect(taken()).toEqual(['--semi-space-growth-factor=4', fixed]);
    flags.widenNursery();
    expect(taken()).toEqual([]);
  });

  it('let go of a nursery that does not grow', () => {
    flags.tuneV8();
    taken();
    flags.widenNursery();
    expect(taken().at(-1)).toBe(fixed);
  });

  it('leave the nursery alone in a process that is not tuned, and while a thread starts', () => {
    flags.widenNursery();
    expect(taken()).toEqual([]);
    flags.tuneV8();
    const one = flags.startWithPlainV8(thread);
    taken();
    flags.widenNursery();
    expect(taken()).toEqual([]);
    one.emit('online');
  });

  it('have the nursery looked at once enough has passed through, and stay as they were', () => {
    flags.tuneV8();
    taken();
    for (let passed = 0; passed < 15; passed += 1) flags.countPassingBytes(MiB);
    expect(vm.collected.splice(0)).toEqual([]);
    flags.countPassingBytes(MiB);
    expect(taken()).toEqual(['--expose-gc', '--no-expose-gc']);
    flags.countPassingBytes(16 * MiB);
    expect(taken()).toEqual([]);
    expect(vm.collected.splice(0)).toEqual([{ type: 'minor' }, { type: 'minor' }]);
  });

  it('leave the nursery to V8 in a process that is not tuned, and while a thread starts', () => {
    flags.countPassingBytes(64 * MiB);
    flags.tuneV8();
    flags.startWithPlainV8(thread);
    flags.countPassingBytes(64 * MiB);
    expect(vm.collected.splice(0)).toEqual([]);
  });

  it('let a real V8 collect the nursery and nothing else', async () => {
    const { spawnSync } = await import('node:child_process');
    const module = JSON.stringify(new URL('../../../src/lib/v8-flags.ts', import.meta.url).href);
    const program = `
      import { PerformanceObserver } from 'node:perf_hooks';
      import { countPassingBytes, tuneV8 } from ${module};
      const kinds = [];
      const observer = new PerformanceObserver((list) => kinds.push(...list.getEntries().map((entry) => entry.detail.kind)));
      tuneV8();
      observer.observe({ entryTypes: ['gc'] });
      for (let count = 0; count < 3; count += 1) countPassingBytes(16 * 1024 * 1024);
      await new Promise((resolve) => setImmediate(resolve));
      kinds.push(...observer.takeRecords().map((entry) => entry.detail.kind));
      console.log(JSON.stringify(kinds.slice(0, 3)), typeof globalThis.gc);`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      encoding: 'utf8',
    });
    const { constants } = await import('node:perf_hooks');
    const minor = constants.NODE_PERFORMANCE_GC_MINOR;
    expect({ stdout, stderr }).toEqual({ stdout: `[${minor},${minor},${minor}] undefined\n`, stderr: '' });
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
