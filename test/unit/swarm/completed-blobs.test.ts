import { describe, expect, it } from 'vitest';
import type { Announcement, Directory } from '../../../src/discovery/directory.ts';
import { TaskGroup } from '../../../src/lib/task-group.ts';
import { CompletedBlobs } from '../../../src/swarm/completed-blobs.ts';
import { testDigest } from '../../support/discovery.ts';
import { FakeClock } from '../../support/fake-clock.ts';

describe('blobs that are complete', () => {
  const [one, other, third] = [testDigest(1), testDigest(2), testDigest(3)] as const;

  function setUp() {
    const told: (readonly Announcement[])[] = [];
    const directory: Pick<Directory, 'announce'> = {
      announce: async (entries) => {
        told.push(entries);
        return new Map();
      },
    };
    const clock = new FakeClock();
    const tasks = new TaskGroup(() => {});
    const completed = new CompletedBlobs({ directory: directory as Directory, clock, tasks });
    /** Lets the time pass and the tasks that it woke end. */
    const pass = async (ms: number) => {
      clock.advance(ms);
      for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
    };
    return { told, clock, tasks, completed, pass };
  }

  it('are told of together, those of the next moment after it', async () => {
    const { told, completed, pass } = setUp();
    completed.add(one);
    await pass(400);
    completed.add(other);
    completed.add(one);
    expect(told).toEqual([]);
    await pass(600);
    completed.add(third);
    await pass(1_000);
    expect(told).toEqual([
      [
        { digest: one, holding: 'complete' },
        { digest: other, holding: 'complete' },
      ],
      [{ digest: third, holding: 'complete' }],
    ]);
  });

  it('are not told of once they are gone', async () => {
    const { told, completed, pass } = setUp();
    completed.add(one);
    completed.remove(one);
    await pass(1_000);
    expect(told).toEqual([]);
  });

  it('are told of once each, when one was gone in between', async () => {
    const { told, completed, pass } = setUp();
    completed.add(one);
    completed.remove(one);
    completed.add(other);
    await pass(2_000);
    expect(told).toEqual([[{ digest: other, holding: 'complete' }]]);
  });

  it('are not told of by a node that stops', async () => {
    const { told, completed, tasks, pass } = setUp();
    completed.add(one);
    await tasks.stop();
    await pass(1_000);
    expect(told).toEqual([]);
  });
});
