import { Level } from 'level';
import { isCode } from '../../lib/errors.ts';
import { StoreError } from '../errors.ts';
import type { OpenDatabaseOptions } from '../index-database.ts';
import type { KeyChange, KeyRange, KeyValue } from '../key-value.ts';
import { translateLevelError } from './level-errors.ts';

interface QueuedBatch {
  readonly changes: readonly KeyChange[];
  readonly isDurable: boolean;
  readonly done: PromiseWithResolvers<void>;
}

// Look-ups are synchronous, so the blocks of a warm working set should be in memory: 20,000 blobs take about 10 MiB.
const blockCacheBytes = 16 * 1024 * 1024;
// Entries fetched from LevelDB's thread at a time during a walk.
const walkStep = 512;
// Batches that wait for the same flush go down together up to this many changes; LevelDB itself stops grouping at 1 MiB.
const maxGroupedChanges = 2000;

/** Opens LevelDB. To be called once per path and process. @throws STORE_LOCKED, STORE_CORRUPT, STORE_UNWRITABLE, STORE_FULL */
export async function openLevelKeyValue(options: OpenDatabaseOptions): Promise<KeyValue> {
  const level = new Level<string, string>(options.directory);
  try {
    await level.open({ createIfMissing: options.createIfMissing, cacheSize: blockCacheBytes });
  } catch (error) {
    throw translateLevelError(error, options.directory);
  }
  return new LevelKeyValue(level, options);
}

/**
 * One batch is with LevelDB at a time, made of all that wait. A batch that fails (full disk) leaves a torn record in LevelDB's
 * log, and whatever is written after it into the same log reads as success and is gone after the next open (measured with a
 * full tmpfs). So after a failure the database is closed and opened again, which starts a new log, before anything else is
 * written. Look-ups and walks wait for that.
 */
class LevelKeyValue implements KeyValue {
  readonly #level: Level<string, string>;
  readonly #options: OpenDatabaseOptions;
  readonly #queue: QueuedBatch[] = [];
  #pumping: Promise<void> | undefined;
  #isTorn = false;
  #isClosed = false;
  #isDamageTold = false;
  #reopening: Promise<void> | undefined;
  #reads = 0;
  #readsDone: PromiseWithResolvers<void> | undefined;

  constructor(level: Level<string, string>, options: OpenDatabaseOptions) {
    this.#level = level;
    this.#options = options;
  }

  async find(key: string): Promise<string | undefined> {
    while (!this.#isReadable) await this.#recover();
    try {
      return this.#level.getSync(key);
    } catch (error) {
      throw this.#told(error);
    }
  }

  batch(changes: readonly KeyChange[], options: { isDurable: boolean }): Promise<void> {
    if (changes.length === 0) return Promise.resolve();
    const done = Promise.withResolvers<void>();
    this.#queue.push({ changes, isDurable: options.isDurable, done });
    this.#pumping ??= this.#pump();
    return done.promise;
  }

  async *walk(range: KeyRange): AsyncIterable<readonly [string, string]> {
    let from = range.from;
    // In steps, each with an iterator of its own: none may be open while the database is opened again.
    for (let left = range.limit ?? Number.POSITIVE_INFINITY; left > 0; ) {
      const limit = Math.min(left, walkStep);
      const entries = await this.#readStep(from, range.to, limit);
      yield* entries;
      const last = entries.at(-1);
      if (last === undefined || entries.length < limit) return;
      from = `${last[0]}\x00`;
      left -= entries.length;
    }
  }

  async close(): Promise<void> {
    await this.#pumping;
    this.#isClosed = true;
    await this.#reopening?.catch(() => {});
    await this.#level.close();
  }

  async #readStep(from: string, to: string, limit: number): Promise<[string, string][]> {
    while (!this.#isReadable) await this.#recover();
    this.#reads += 1;
    try {
      return await this.#level.iterator<string, string>({ gte: from, lt: to, limit }).all();
    } catch (error) {
      throw this.#told(error);
    } finally {
      this.#reads -= 1;
      if (this.#reads === 0) this.#readsDone?.resolve();
    }
  }

  async #pump(): Promise<void> {
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      try {
        if (this.#isTorn) await this.#reopen();
        const sync = group.some((queued) => queued.isDurable);
        await this.#level.batch(
          group.flatMap((queued) => [...queued.changes]),
          { sync },
        );
        for (const { done } of group) done.resolve();
      } catch (error) {
        this.#isTorn = true;
        const coded = this.#told(error);
        for (const { done } of group) done.reject(coded);
      }
    }
    // In the same turn in which the queue was seen empty: a batch that comes next must start a pump of its own.
    this.#pumping = undefined;
  }

  #takeGroup(): QueuedBatch[] {
    let changes = 0;
    let count = 0;
    for (const queued of this.#queue) {
      changes += queued.changes.length;
      if (count > 0 && changes > maxGroupedChanges) break;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  /** To be asked and acted on in the same turn: between two turns a reopening can begin. */
  get #isReadable(): boolean {
    return this.#reopening === undefined && (this.#level.status === 'open' || !this.#isTorn || this.#isClosed);
  }

  /** Waits for a reopening under way; one that failed with the database closed is tried again. */
  async #recover(): Promise<void> {
    if (this.#reopening === undefined) await this.#reopen();
    else await this.#reopening.catch(() => {});
  }

  #reopen(): Promise<void> {
    this.#reopening ??= this.#openAgain().finally(() => {
      this.#reopening = undefined;
    });
    return this.#reopening;
  }

  async #openAgain(): Promise<void> {
    // Closed without room to open again, even what is there could not be read.
    if (!(await this.#options.makeRoom()) && this.#level.status === 'open') {
      throw new StoreError('STORE_FULL', 'the disk is full', { details: { path: this.#options.directory } });
    }
    // Reads that begin now wait for the reopening; those under way are waited for.
    if (this.#reads > 0) {
      this.#readsDone = Promise.withResolvers<void>();
      await this.#readsDone.promise;
      this.#readsDone = undefined;
    }
    try {
      await this.#level.close();
      await this.#level.open({ createIfMissing: false, cacheSize: blockCacheBytes });
      this.#isTorn = false;
    } catch (error) {
      throw this.#told(error);
    }
  }

  #told(error: unknown): unknown {
    const coded = translateLevelError(error, this.#options.directory);
    if (isCode(coded, 'STORE_CORRUPT') && !this.#isDamageTold) {
      this.#isDamageTold = true;
      this.#options.onDamage();
    }
    return coded;
  }
}
