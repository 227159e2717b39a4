/** What the cores of the machine did, whoever made them do it, and what the host did not let them do. */
import { readFileSync } from 'node:fs';

export interface Cores {
  readonly busyTicks: number;
  readonly idleTicks: number;
  /** A virtual machine had work for a core, and its host ran something else on it. */
  readonly stolenTicks: number;
}

/** Reads what all cores together did since the machine started. */
export function readCores(): Cores {
  return parseCores(readFileSync('/proc/stat', 'utf8'));
}

/** Parses the first line of `/proc/stat`, the sum over all cores (proc_stat(5)). */
export function parseCores(procStat: string): Cores {
  const fields = /^cpu +([\d ]+)/.exec(procStat)?.[1]?.split(' ').map(Number);
  const [user, nice, system, idle, waiting, interrupts, softInterrupts, stolen] = fields ?? [];
  if (stolen === undefined) throw new Error('/proc/stat does not begin with the time of all cores');
  const sum = (...ticks: readonly (number | undefined)[]) => ticks.reduce<number>((all, each = 0) => all + each, 0);
  return {
    busyTicks: sum(user, nice, system, interrupts, softInterrupts),
    idleTicks: sum(idle, waiting),
    stolenTicks: stolen,
  };
}

/** Shares, 0 to 1, of the time between two readings: of what the machine had, and of what its host kept. */
export function shareCores(before: Cores, after: Cores): { readonly busyShare: number; readonly stolenShare: number } {
  const busy = after.busyTicks - before.busyTicks;
  const had = busy + after.idleTicks - before.idleTicks;
  const stolen = after.stolenTicks - before.stolenTicks;
  return { busyShare: had <= 0 ? 0 : busy / had, stolenShare: had + stolen <= 0 ? 0 : stolen / (had + stolen) };
}
