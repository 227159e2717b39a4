/** The ways a node of the bench can lie; the liar's own process carries them out (`bench/liar-node.ts`). */
import { join } from 'node:path';

/**
 * `flip`: other bytes under the true hash and signature. `sign`: other bytes, hashed and signed as true; `sign-large`: only in large
 * pieces. `stall`: nothing after the head of the answer. `endless`: more bytes than were asked for, without end.
 */
const lies = ['flip', 'sign', 'sign-large', 'stall', 'endless'] as const;

export type Lie = (typeof lies)[number];

export const isLie = (name: string): name is Lie => lies.some((lie) => lie === name);

export const lieVariable = 'SHOAL_BENCH_LIE';

/** The program of a node that lies, for `FleetOptions.nodeChanges`. */
export function liarProgram(lie: Lie): { readonly script: string; readonly env: Readonly<Record<string, string>> } {
  return { script: join(import.meta.dirname, '..', 'liar-node.ts'), env: { [lieVariable]: lie } };
}
