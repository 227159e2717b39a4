import type { Directory } from '../discovery/directory.ts';
import { type Clock, delay } from '../lib/clock.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';

// Members hear of the end at once from this node itself, and the directory already names it as one that fetches: it may learn the
// rest a moment later, of all layers that end in one burst with one message per tracker.
const gatherMs = 1_000;

/** Tells the directory which blobs this node has come to hold whole. */
export class CompletedBlobs {
  readonly #deps: { readonly directory: Directory; readonly clock: Clock; readonly tasks: TaskGroup };
  readonly #waiting = new Set<Digest>();

  constructor(deps: { readonly directory: Directory; readonly clock: Clock; readonly tasks: TaskGroup }) {
    this.#deps = deps;
  }

  add(digest: Digest): void {
    this.#waiting.add(digest);
    if (this.#waiting.size > 1) return;
    const { directory, clock, tasks } = this.#deps;
    tasks.run(async (signal) => {
      await delay(clock, gatherMs, signal);
      const entries = [...this.#waiting].map((digest) => ({ digest, holding: 'complete' as const }));
      this.#waiting.clear();
      if (entries.length > 0) await directory.announce(entries, signal);
    });
  }

  /** The blob is gone again before it was told of. */
  remove(digest: Digest): void {
    this.#waiting.delete(digest);
  }
}
