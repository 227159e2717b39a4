import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { findDigest } from '../../oci/digest.ts';
import type { Repository } from '../../oci/repository.ts';
import { type Files, isAbsence } from '../files/files.ts';
import { OpenFile } from '../files/open-file.ts';
import { keys } from '../metadata/keys.ts';
import type { NameEntry, NameLog } from '../metadata/name-log.ts';
import { Fields, provenances, readTag } from '../metadata/records.ts';

// One write per line would make the rewriting of a big log slow.
const linesPerWrite = 500;
// A name takes about 300 bytes; a log below this is not worth rewriting while running.
const smallLogBytes = 4 * 1024 * 1024;

/**
 * The names as lines of `<crc32 in hex> <json>`, appended. A line that does not fit its check sum is passed over, so neither a
 * torn tail nor a flipped bit hides the others. Rewritten from the index at every start, and when it has grown to several times
 * what is alive.
 */
export class NameLogFile implements NameLog {
  readonly #files: Files;
  readonly #path: string;
  #file: OpenFile;
  #position: number;
  /** The size when it was last rewritten or opened. */
  #compactBytes: number;
  #tail: Promise<void> = Promise.resolve();
  #isSynced = true;

  private constructor(files: Files, path: string, file: OpenFile, position: number) {
    this.#files = files;
    this.#path = path;
    this.#file = file;
    this.#position = position;
    this.#compactBytes = position;
  }

  /** Replaces the log by these entries, durably. */
  static async create(files: Files, path: string, entries: AsyncIterable<NameEntry>): Promise<NameLogFile> {
    const { file, position } = await writeAll(files, path, entries);
    return new NameLogFile(files, path, file, position);
  }

  /** Goes on with a log that is whole. */
  static async open(files: Files, path: string): Promise<NameLogFile> {
    const file = await OpenFile.open(files, path, 'write');
    return new NameLogFile(files, path, file, file.sizeBytes);
  }

  /** Tells whether rewriting would shrink the log by much. */
  get isBloated(): boolean {
    return this.#position > Math.max(smallLogBytes, this.#compactBytes * 4);
  }

  append(entry: NameEntry): Promise<void> {
    return this.#inTurn(async () => {
      const line = encodeLine(entry);
      await this.#file.write(line, this.#position);
      // A line that failed half-way is written over by the next.
      this.#position += line.length;
      this.#isSynced = false;
    });
  }

  /** Brings what was appended to the disk. */
  sync(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isSynced) return;
      await this.#file.sync();
      this.#isSynced = true;
    });
  }

  /** Writes the log anew from what is alive; appends wait. */
  compact(entries: AsyncIterable<NameEntry>): Promise<void> {
    return this.#inTurn(async () => {
      const { file, position } = await writeAll(this.#files, this.#path, entries);
      await this.#file.close();
      this.#file = file;
      this.#position = position;
      this.#compactBytes = position;
      this.#isSynced = true;
    });
  }

  close(): Promise<void> {
    return this.#inTurn(() => this.#file.close());
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#tail.then(work);
    this.#tail = turn.catch(() => {});
    return turn;
  }
}

export interface LoggedNames {
  /** The last word on every name, by its key in the index. */
  readonly names: Map<string, NameEntry>;
  /** Whether every byte is a line that can be read, so that more can be appended. */
  readonly isWhole: boolean;
}

/** Reads the log; an absent one is empty and not whole. */
export async function readNameLog(files: Files, path: string): Promise<LoggedNames> {
  const names = new Map<string, NameEntry>();
  let isWhole = true;
  let file: OpenFile;
  try {
    file = await OpenFile.open(files, path, 'read');
  } catch (error) {
    if (isAbsence(error)) return { names, isWhole: false };
    throw error;
  }
  try {
    // Compacted at every start and at a size in between, so it fits into memory.
    const bytes = Buffer.alloc(file.sizeBytes);
    const length = await file.readFully(bytes, 0);
    const lines = bytes.toString('utf8', 0, length).split('\n');
    // A whole log ends with a line feed, so nothing is left behind the last one.
    if (lines.pop() !== '') isWhole = false;
    for (const line of lines) {
      const entry = readLine(line);
      if (entry === undefined) isWhole = false;
      else if (entry.kind === 'untag') names.delete(nameKey(entry));
      else names.set(nameKey(entry), entry);
    }
  } finally {
    await file.close();
  }
  return { names, isWhole };
}

function nameKey(entry: NameEntry): string {
  return entry.kind === 'link' ? keys.manifest(entry.repository, entry.digest) : keys.tag(entry.repository, entry.tag);
}

async function writeAll(files: Files, path: string, entries: AsyncIterable<NameEntry>) {
  const next = `${path}.next`;
  const file = await OpenFile.open(files, next, 'replace');
  let position = 0;
  let waiting: Buffer[] = [];
  const write = async () => {
    const bytes = Buffer.concat(waiting);
    waiting = [];
    await file.write(bytes, position);
    position += bytes.length;
  };
  try {
    for await (const entry of entries) {
      waiting.push(encodeLine(entry));
      if (waiting.length === linesPerWrite) await write();
    }
    await write();
    await file.sync();
    await files.rename(next, path);
    await files.syncDirectory(dirname(path));
  } catch (error) {
    await file.close();
    throw error;
  }
  return { file, position };
}

function encodeLine(entry: NameEntry): Buffer {
  const json = JSON.stringify(entry);
  return Buffer.from(`${crc32(json).toString(16).padStart(8, '0')} ${json}\n`, 'utf8');
}

function readLine(line: string): NameEntry | undefined {
  const json = line.slice(9);
  if (line[8] !== ' ' || line.slice(0, 8) !== crc32(json).toString(16).padStart(8, '0')) return undefined;
  try {
    return readEntry(new Fields(JSON.parse(json)));
  } catch {
    return undefined;
  }
}

function readEntry(fields: Fields): NameEntry | undefined {
  const repository = fields.optional('repository', readRepository);
  if (repository === undefined) return undefined;
  const kind = fields.oneOf('kind', ['link', 'tag', 'untag']);
  if (kind === 'untag') return { kind, repository, tag: fields.text('tag') };
  if (kind === 'tag') {
    const record = fields.optional('record', (value) => readTag(new Fields(value)));
    return record === undefined ? undefined : { kind, repository, tag: fields.text('tag'), record };
  }
  const digest = findDigest(fields.text('digest'));
  if (digest === undefined) return undefined;
  return {
    kind,
    repository,
    digest,
    mediaType: fields.text('mediaType'),
    provenance: fields.oneOf('provenance', provenances),
    storedAtMs: fields.number('storedAtMs'),
  };
}

function readRepository(value: unknown): Repository {
  const fields = new Fields(value);
  return { namespace: fields.text('namespace'), name: fields.text('name') };
}
