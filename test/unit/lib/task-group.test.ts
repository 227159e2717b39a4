import { describe, expect, it } from 'vitest';
import { TaskGroup } from '../../../src/lib/task-group.ts';

describe('TaskGroup', () => {
  it('aborts its tasks at stop and waits until the last has ended', async () => {
    const failures: Error[] = [];
    const group = new TaskGroup((error) => failures.push(error));
    const ended: string[] = [];
    group.run(async (signal) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      await new Promise((resolve) => setImmediate(resolve));
      ended.push('slow');
      throw new Error('failing while stopping is nobody’s concern');
    });
    expect(group.size).toBe(1);
    await group.stop();
    expect(ended).toEqual(['slow']);
    expect([group.size, failures]).toEqual([0, []]);
  });

  it('reports a failure once and goes on with the others', async () => {
    const failures: Error[] = [];
    const group = new TaskGroup((error) => failures.push(error));
    group.run(() => Promise.reject('text'));
    group.run(() => {
      throw new Error('thrown before the first await');
    });
    group.run(() => Promise.reject(new DOMException('left', 'AbortError')));
    group.run(async () => {});
    while (group.size > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(failures.map((error) => error.message).sort()).toEqual(['text', 'thrown before the first await']);
  });

  it('starts nothing after stop, and waits for tasks that a task started meanwhile', async () => {
    const group = new TaskGroup(() => {});
    let started = 0;
    group.run(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      group.run(async () => {
        started += 1;
      });
    });
    await Promise.all([group.stop(), group.stop()]);
    group.run(async () => {
      started += 1;
    });
    expect([started, group.size, group.signal.aborted]).toEqual([0, 0, true]);
  });
});
