/**
 * Who spent the CPU time of a daemon: what its threads are there for, by their names, and how much of it was the kernel's.
 * The main thread runs protocol, TLS and HTTP; hashing, memory collection and files have threads of their own.
 */
import { readdir, readFile } from 'node:fs/promises';

/** CPU seconds. `kernel` is the kernel's part of all the others together: sockets, files, page faults. */
export interface CpuSplit {
  readonly main: number;
  readonly hashThreads: number;
  readonly v8Workers: number;
  readonly ioPool: number;
  readonly otherThreads: number;
  readonly kernel: number;
}

interface ThreadTime {
  readonly name: string;
  readonly userSeconds: number;
  readonly kernelSeconds: number;
}

/** /proc counts in these; fixed at 100 for user space on every Linux architecture. */
const clockTicksPerSecond = 100;

/** Names as Node 22 to 24, libuv 1.50 and this project give them; the kernel keeps 15 characters. */
const kinds: readonly (readonly [RegExp, Exclude<keyof CpuSplit, 'otherThreads' | 'kernel'>])[] = [
  [/^(MainThread|node-MainThread|node)$/, 'main'],
  [/^shoal-hash/, 'hashThreads'],
  [/^V8/, 'v8Workers'],
  [/^(libuv-worker|uv-)/, 'ioPool'],
];

/** Reads one line of `/proc/PID/task/TID/stat`. */
export function parseThreadStat(stat: string): ThreadTime {
  // The name may hold spaces and brackets; what follows its closing bracket does not.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {
    name: stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')),
    userSeconds: Number(fields[11]) / clockTicksPerSecond,
    kernelSeconds: Number(fields[12]) / clockTicksPerSecond,
  };
}

export function splitCpu(threads: readonly ThreadTime[]): CpuSplit {
  const split = { main: 0, hashThreads: 0, v8Workers: 0, ioPool: 0, otherThreads: 0, kernel: 0 };
  for (const { name, userSeconds, kernelSeconds } of threads) {
    const kind = kinds.find(([pattern]) => pattern.test(name))?.[1] ?? 'otherThreads';
    split[kind] += userSeconds + kernelSeconds;
    split.kernel += kernelSeconds;
  }
  return split;
}

const zeroSplit = splitCpu([]);

/** Combines two splits field by field. */
function zip(one: CpuSplit, other: CpuSplit, combine: (one: number, other: number) => number): CpuSplit {
  return {
    main: combine(one.main, other.main),
    hashThreads: combine(one.hashThreads, other.hashThreads),
    v8Workers: combine(one.v8Workers, other.v8Workers),
    ioPool: combine(one.ioPool, other.ioPool),
    otherThreads: combine(one.otherThreads, other.otherThreads),
    kernel: combine(one.kernel, other.kernel),
  };
}

export const addCpu = (splits: readonly CpuSplit[]): CpuSplit =>
  splits.reduce((sum, split) => zip(sum, split, (one, other) => one + other), zeroSplit);

export const subtractCpu = (after: CpuSplit, before: CpuSplit): CpuSplit =>
  zip(after, before, (one, other) => one - other);

/** CPU seconds of all threads. */
export const totalCpu = ({ main, hashThreads, v8Workers, ioPool, otherThreads }: CpuSplit): number =>
  main + hashThreads + v8Workers + ioPool + otherThreads;

export const mapCpu = (split: CpuSplit, change: (seconds: number) => number): CpuSplit => zip(split, split, change);

/** Reads the threads of a living process; the time of threads that have ended is not in it. */
export async function readCpuSplit(pid: number): Promise<CpuSplit> {
  const threads: ThreadTime[] = [];
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    // It may end between the listing and here.
    const stat = await readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8').catch(() => undefined);
    if (stat !== undefined) threads.push(parseThreadStat(stat));
  }
  return splitCpu(threads);
}
