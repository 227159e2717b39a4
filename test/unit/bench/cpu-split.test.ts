import { describe, expect, it } from 'vitest';
import { addCpu, mapCpu, parseThreadStat, splitCpu, subtractCpu } from '../../../bench/lab/cpu-split.ts';

const stat = (name: string, userTicks: number, kernelTicks: number) =>
  `4711 (${name}) S 1 2 3 4 5 6 7 8 9 10 ${userTicks} ${kernelTicks} 0 0 20 0 12 0 99`;

describe('the split of CPU time', () => {
  it.each(['MainThread', 'a name', 'odd) (name'])('reads the thread %j', (name) => {
    expect(parseThreadStat(stat(name, 150, 25))).toEqual({ name, userSeconds: 1.5, kernelSeconds: 0.25 });
  });

  it('sorts threads by what they are there for and counts the kernel over all', () => {
    const names = ['MainThread', 'shoal-hash', 'V8Worker', 'V8Worker', 'libuv-worker', 'DelayedTaskSche'];
    expect(splitCpu(names.map((name) => parseThreadStat(stat(name, 100, 10))))).toEqual({
      main: 1.1,
      hashThreads: 1.1,
      v8Workers: 2.2,
      ioPool: 1.1,
      otherThreads: 1.1,
      kernel: expect.closeTo(0.6),
    });
  });

  it('adds, subtracts and maps every part', () => {
    const one = splitCpu([
      { name: 'MainThread', userSeconds: 3, kernelSeconds: 1 },
      { name: 'libuv-worker', userSeconds: 0, kernelSeconds: 2 },
    ]);
    expect(subtractCpu(addCpu([one, one]), one)).toEqual(one);
    expect(mapCpu(one, (seconds) => seconds * 2)).toMatchObject({ main: 8, ioPool: 4, kernel: 6, hashThreads: 0 });
    expect(addCpu([])).toEqual(splitCpu([]));
  });
});
