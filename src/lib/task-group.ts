import { isAbort, toError } from './errors.ts';

/**
 * Owns background tasks: each gets the group's signal, none is left floating, and `stop` aborts and awaits them all.
 * A task that fails for another reason than the abort is reported once to `onFailure`.
 */
export class TaskGroup {
  readonly #controller = new AbortController();
  readonly #tasks = new Set<Promise<void>>();
  readonly #onFailure: (error: Error) => void;

  constructor(onFailure: (error: Error) => void) {
    this.#onFailure = onFailure;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get size(): number {
    return this.#tasks.size;
  }

  /** Starts a task; after `stop` it does nothing. */
  run(task: (signal: AbortSignal) => Promise<unknown>): void {
    if (this.signal.aborted) return;
    const running: Promise<void> = (async () => {
      try {
        await task(this.signal);
      } catch (error) {
        if (!this.signal.aborted && !isAbort(error)) this.#onFailure(toError(error));
      }
    })().finally(() => this.#tasks.delete(running));
    this.#tasks.add(running);
  }

  /** Aborts every task and resolves when the last one has ended. */
  async stop(): Promise<void> {
    this.#controller.abort(new DOMException('stopped', 'AbortError'));
    while (this.#tasks.size > 0) await Promise.allSettled([...this.#tasks]);
  }
}
