/**
 * Real child processes for benches and tests: started in an own process group, logged to a file, ended by pid.
 * Nothing outlives its owner: every started child is also killed when this process exits, whatever the reason.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

export interface ChildOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly logPath: string;
  /** Network namespace to run in; the current one when absent. */
  readonly netns?: string;
  /** Gives the child a piped stdin and stdout (for a line protocol); stderr still goes to the log. */
  readonly piped?: boolean;
  /** Wait this long for an end after SIGTERM before SIGKILL; 10 s when absent, more than any client here needs. */
  readonly stopTimeoutMs?: number;
}

export interface ChildUsage {
  readonly cpuSeconds: number;
  readonly peakRssBytes: number;
  readonly rssBytes: number;
}

export interface Child extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  readonly process: ChildProcess;
  readonly logPath: string;
  /** Resolves with the exit code, or the signal's name, once the process has ended. */
  readonly exited: Promise<number | string>;
  hasExited(): boolean;
  kill(signal: NodeJS.Signals): void;
  /** Ends the process: SIGTERM, then SIGKILL to its group. */
  stop(): Promise<void>;
  readLog(): string;
  readUsage(): Promise<ChildUsage>;
}

/** /proc/PID/stat counts in these; fixed at 100 for user space on every Linux architecture. */
const clockTicksPerSecond = 100;

const living = new Set<number>();

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // The group has already ended.
  }
}

process.on('exit', () => {
  for (const pid of living) killGroup(pid, 'SIGKILL');
});

/** Starts a child in its own process group. */
export function startChild(options: ChildOptions): Child {
  const log = openSync(options.logPath, 'a');
  // Not `ip netns exec`: that mounts another /sys, in which dockerd finds no cgroups.
  const inside = options.netns === undefined ? [] : ['nsenter', `--net=/run/netns/${options.netns}`];
  const [command, ...args] = [...inside, options.command, ...options.args];
  const child = spawn(command as string, args, {
    detached: true,
    stdio: options.piped === true ? ['pipe', 'pipe', log] : ['ignore', log, log],
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  closeSync(log);
  const pid = child.pid;
  let ended = pid === undefined;
  if (pid !== undefined) living.add(pid);
  const exited = new Promise<number | string>((resolve) => {
    const settle = (outcome: number | string) => {
      ended = true;
      if (pid !== undefined) {
        // Children of the child (containerd below dockerd) must not outlive it.
        killGroup(pid, 'SIGKILL');
        living.delete(pid);
      }
      resolve(outcome);
    };
    child.once('exit', (code, signal) => settle(code ?? signal ?? 'unknown'));
    child.once('error', (error) => settle(error.message));
  });
  const stop = async () => {
    if (ended || pid === undefined) return;
    killGroup(pid, 'SIGCONT');
    child.kill('SIGTERM');
    const timer = setTimeout(() => killGroup(pid, 'SIGKILL'), options.stopTimeoutMs ?? 10_000);
    await exited;
    clearTimeout(timer);
  };
  return {
    name: options.name,
    pid: pid ?? -1,
    process: child,
    logPath: options.logPath,
    exited,
    hasExited: () => ended,
    kill: (signal) => void child.kill(signal),
    stop,
    readLog: () => readFileSync(options.logPath, 'utf8'),
    readUsage: () => readUsage(pid ?? -1),
    [Symbol.asyncDispose]: stop,
  };
}

/** Reads CPU time (all threads, and children already waited for) and memory of a living process. */
export async function readUsage(pid: number): Promise<ChildUsage> {
  const [stat, status] = await Promise.all([
    readFile(`/proc/${pid}/stat`, 'utf8'),
    readFile(`/proc/${pid}/status`, 'utf8'),
  ]);
  // The command name may hold spaces; what follows its closing bracket does not.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
  const kibibytes = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
  return { cpuSeconds: ticks / clockTicksPerSecond, peakRssBytes: kibibytes('VmHWM'), rssBytes: kibibytes('VmRSS') };
}

/** Waits until the probe answers true; fails with what it waited for after the limit, or when the child has ended. */
export async function waitUntil(
  what: string,
  probe: () => Promise<boolean> | boolean,
  options: { readonly timeoutMs: number; readonly intervalMs?: number; readonly child?: Child },
): Promise<void> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    if (await probe()) return;
    if (options.child?.hasExited() === true) {
      throw new Error(
        `${options.child.name} ended while waiting for ${what}:\n${options.child.readLog().slice(-4000)}`,
      );
    }
    if (performance.now() > deadline) {
      const log = options.child === undefined ? '' : `\n${options.child.readLog().slice(-4000)}`;
      throw new Error(`timed out after ${options.timeoutMs} ms waiting for ${what}${log}`);
    }
    await new Promise((resolve) => setTimeout(resolve, options.intervalMs ?? 25));
  }
}
