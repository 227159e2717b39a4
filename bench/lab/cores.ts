/** How busy the cores of the machine are, whoever makes them so. */
import { cpus } from 'node:os';

export interface Cores {
  readonly busyMs: number;
  readonly idleMs: number;
}

/** Reads what all cores together did since the machine started. */
export function readCores(): Cores {
  let busyMs = 0;
  let idleMs = 0;
  for (const { times } of cpus()) {
    busyMs += times.user + times.nice + times.sys + times.irq;
    idleMs += times.idle;
  }
  return { busyMs, idleMs };
}

/** Computes the busy share, 0 to 1, of the time between two readings. */
export function shareBusy(before: Cores, after: Cores): number {
  const busyMs = after.busyMs - before.busyMs;
  const allMs = busyMs + after.idleMs - before.idleMs;
  return allMs <= 0 ? 0 : busyMs / allMs;
}
