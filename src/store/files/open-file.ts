import { readFully } from '../../lib/read-fully.ts';
import { type Files, isAbsence, type OpenMode } from './files.ts';

/**
 * One open file. Closing waits for reads and writes under way: a number closed under them could by then be another file, and
 * they would touch the wrong bytes.
 */
export class OpenFile {
  readonly #files: Files;
  readonly #fd: number;
  #inFlight = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(files: Files, fd: number) {
    this.#files = files;
    this.#fd = fd;
  }

  static async open(files: Files, path: string, mode: OpenMode): Promise<OpenFile> {
    return new OpenFile(files, await files.open(path, mode));
  }

  get sizeBytes(): number {
    this.#checkOpen();
    return this.#files.sizeOf(this.#fd);
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#track(() => this.#files.read(this.#fd, target, position));
  }

  /** Reads until the target is full or the file ends. */
  readFully(target: Uint8Array, position: number): Promise<number> {
    return readFully(this, target, position);
  }

  write(bytes: Uint8Array, position: number): Promise<void> {
    return this.#track(() => this.#files.write(this.#fd, bytes, position));
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#track(() => this.#files.truncate(this.#fd, sizeBytes));
  }

  sync(): Promise<void> {
    return this.#track(() => this.#files.sync(this.#fd));
  }

  /** Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#finish();
    return this.#closed;
  }

  async #finish(): Promise<void> {
    if (this.#inFlight > 0) {
      this.#idle = Promise.withResolvers<void>();
      await this.#idle.promise;
    }
    await this.#files.close(this.#fd);
  }

  async #track<Value>(work: () => Promise<Value>): Promise<Value> {
    this.#checkOpen();
    this.#inFlight += 1;
    try {
      return await work();
    } finally {
      this.#inFlight -= 1;
      if (this.#inFlight === 0) this.#idle?.resolve();
    }
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) throw new Error('file is used after it was closed');
  }
}

/** Opens a file; undefined when it is not there. */
export async function openIfThere(files: Files, path: string, mode: OpenMode): Promise<OpenFile | undefined> {
  try {
    return await OpenFile.open(files, path, mode);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}
