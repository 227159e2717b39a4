import type { Files } from '../../src/store/files/files.ts';
import { systemFiles } from '../../src/store/files/files.ts';

/** Every operation that changes something on the disk; reads and closes never die. */
const changing = [
  'open',
  'write',
  'truncate',
  'sync',
  'syncDirectory',
  'makeDirectory',
  'rename',
  'protect',
  'removeFile',
  'remove',
] as const;
export type ChangingOperation = (typeof changing)[number];

class CrashError extends Error {}

/**
 * File operations that stop working at a chosen point, as they do for a process that dies there: the operation at the point and
 * all later ones throw and change nothing.
 */
export class CrashingFiles {
  #left = Number.POSITIVE_INFINITY;
  #matches: (operation: ChangingOperation, path: unknown) => boolean = () => true;
  #hasCrashed = false;

  get hasCrashed(): boolean {
    return this.#hasCrashed;
  }

  /** Dies at the n-th matching operation from here (0 = the next). */
  crashAt(count: number, matches: (operation: ChangingOperation, path: unknown) => boolean = () => true): void {
    this.#left = count;
    this.#matches = matches;
  }

  heal(): void {
    this.#left = Number.POSITIVE_INFINITY;
    this.#hasCrashed = false;
  }

  files(): Files {
    const wrapped: Record<string, unknown> = { ...systemFiles };
    for (const operation of changing) {
      const real = systemFiles[operation] as (...parameters: unknown[]) => Promise<unknown>;
      wrapped[operation] = async (...parameters: unknown[]) => {
        this.#step(operation, parameters[0]);
        return real(...parameters);
      };
    }
    return wrapped as unknown as Files;
  }

  #step(operation: ChangingOperation, path: unknown): void {
    if (!this.#hasCrashed && this.#matches(operation, path)) {
      if (this.#left === 0) this.#hasCrashed = true;
      this.#left -= 1;
    }
    if (this.#hasCrashed) throw new CrashError(`died at ${operation}`);
  }
}
