import type { BlobHandle } from '../store/blob-store.ts';
import type { DownloadReader } from '../swarm/swarm.ts';
import type { RangeReader } from './images.ts';
import { toImageError, type Wanted } from './translate-error.ts';

/** Reads from a download, which gives verified bytes only and withholds the tail of the range until the digest is known. */
export class SwarmReader implements RangeReader {
  readonly #reader: DownloadReader;
  readonly #wanted: Wanted;

  constructor(reader: DownloadReader, wanted: Wanted) {
    this.#reader = reader;
    this.#wanted = wanted;
  }

  async read(target: Uint8Array, position: number, signal: AbortSignal): Promise<number> {
    try {
      return await this.#reader.read(target, position, signal);
    } catch (error) {
      throw toImageError(error, this.#wanted);
    }
  }

  async close(): Promise<void> {
    this.#reader.close();
  }
}

/** Reads a held blob; when the disk fails, goes on from where it was with what the heal gives. Heals once. */
export class HealingReader implements RangeReader {
  readonly #handle: BlobHandle;
  readonly #end: number;
  readonly #heal: (error: unknown) => Promise<RangeReader>;
  #healed: Promise<RangeReader> | undefined;

  constructor(handle: BlobHandle, end: number, heal: (error: unknown) => Promise<RangeReader>) {
    this.#handle = handle;
    this.#end = Math.min(end, handle.sizeBytes);
    this.#heal = heal;
  }

  async read(target: Uint8Array, position: number, signal: AbortSignal): Promise<number> {
    if (this.#healed !== undefined) return await (await this.#healed).read(target, position, signal);
    const room = this.#end - position;
    if (room <= 0) return 0;
    try {
      const count = await this.#handle.read(target.length > room ? target.subarray(0, room) : target, position);
      if (count === 0 && target.length > 0) throw new RangeError(`the file ends at ${position} of ${this.#end}`);
      return count;
    } catch (error) {
      this.#healed ??= this.#heal(error);
      return await (await this.#healed).read(target, position, signal);
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#handle.close(), this.#healed?.then((reader) => reader.close())]);
  }
}
