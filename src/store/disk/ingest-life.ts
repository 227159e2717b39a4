import type { Digest } from '../../oci/digest.ts';
import { StoreError } from '../errors.ts';
import { ingestClosed } from '../ingest-rules.ts';

/**
 * The life of an ingest: open -> committing -> ended (complete), or back to open when the commit failed and can be tried again;
 * open -> ended (kept for later, or thrown away). It ends once, however often that is asked for, and never under a commit.
 */
export class IngestLife {
  readonly #digest: Digest;
  #state: 'open' | 'committing' | 'ended' = 'open';
  #committing: Promise<unknown> = Promise.resolve();
  #ending: Promise<void> | undefined;

  constructor(digest: Digest) {
    this.#digest = digest;
  }

  /** Readers go on while a commit flushes. @throws STORE_INGEST_CLOSED */
  checkReadable(): void {
    if (this.#state === 'ended') throw ingestClosed(this.#digest);
  }

  /** @throws STORE_INGEST_CLOSED */
  checkOpen(): void {
    this.checkReadable();
    if (this.#state === 'committing') {
      throw new StoreError('STORE_INGEST_CLOSED', 'ingest is being committed', { details: { digest: this.#digest } });
    }
  }

  /** Runs a commit, and `end` behind one that succeeded. The caller has checked that it is open. */
  commit<Value>(work: () => Promise<Value>, end: (value: Value) => Promise<void>): Promise<Value> {
    this.#state = 'committing';
    const committing = this.#commit(work, end);
    this.#committing = committing.catch(() => {});
    return committing;
  }

  /** Ends it, unless a commit that runs does. */
  async end(work: () => Promise<void>): Promise<void> {
    await this.#committing;
    this.#ending ??= this.#end(work);
    await this.#ending;
  }

  async #commit<Value>(work: () => Promise<Value>, end: (value: Value) => Promise<void>): Promise<Value> {
    let value: Value;
    try {
      value = await work();
    } catch (error) {
      this.#state = 'open';
      throw error;
    }
    this.#ending = this.#end(() => end(value));
    await this.#ending;
    return value;
  }

  async #end(work: () => Promise<void>): Promise<void> {
    this.#state = 'ended';
    await work();
  }
}
