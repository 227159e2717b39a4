import fs from 'node:fs';
import { promisify } from 'node:util';
import { StoreError } from '../errors.ts';

/**
 * The file operations the store is made of, as one object, so that tests can fail or stop at any of them.
 * Errors a person can act on come as codes; ENOENT stays as it is, since absence means something else in each place.
 */
export interface Files {
  open(path: string, mode: OpenMode): Promise<number>;
  close(fd: number): Promise<void>;
  read(fd: number, target: Uint8Array, position: number): Promise<number>;
  /** Writes all bytes. @throws STORE_FULL, STORE_UNWRITABLE */
  write(fd: number, bytes: Uint8Array, position: number): Promise<void>;
  truncate(fd: number, sizeBytes: number): Promise<void>;
  /** Waits until data and size are on the disk. */
  sync(fd: number): Promise<void>;
  /** Waits until the names in a directory are on the disk. */
  syncDirectory(path: string): Promise<void>;
  /** Returns the size of an open file; synchronous because the inode is in memory. */
  sizeOf(fd: number): number;
  stat(path: string): Promise<FileStat | undefined>;
  /** Lists a directory; an absent one is empty. */
  list(path: string): Promise<string[]>;
  /** Lists the plain files of one directory with their sizes; what is no directory has none. */
  listFiles(path: string): Promise<NamedFile[]>;
  /** Makes a directory and those above it; returns whether it was absent. */
  makeDirectory(path: string): Promise<boolean>;
  rename(from: string, to: string): Promise<void>;
  /** Takes away every right to write. */
  protect(path: string): Promise<void>;
  /** Removes a file; an absent one is fine. */
  removeFile(path: string): Promise<void>;
  /** Removes a file or a whole directory; an absent one is fine. */
  remove(path: string): Promise<void>;
  /** Returns what an unprivileged process may still write. */
  freeBytes(path: string): Promise<number>;
}

/** `create` keeps what is there, `replace` empties it. */
export type OpenMode = 'read' | 'write' | 'create' | 'replace';

interface FileStat {
  readonly sizeBytes: number;
  /** What a sparse file really takes. */
  readonly allocatedBytes: number;
  readonly modifiedAtMs: number;
}

interface NamedFile {
  readonly name: string;
  readonly sizeBytes: number;
}

const flags = {
  read: fs.constants.O_RDONLY,
  write: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT,
  replace: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_TRUNC,
};
// stat().blocks counts in 512 bytes on every file system (POSIX sys/stat.h as Linux has it).
const statBlockBytes = 512;

const open = promisify(fs.open);
const close = promisify(fs.close);
const fsync = promisify(fs.fsync);
const ftruncate = promisify(fs.ftruncate);
const unlink = promisify(fs.unlink);

export const systemFiles: Files = {
  open: (path, mode) => coded(path, open(path, flags[mode], 0o644)),
  close: (fd) => close(fd),

  // The callback form on a number costs a third less CPU per read than a FileHandle.
  read: (fd, target, position) =>
    new Promise((resolve, reject) => {
      fs.read(fd, target, 0, target.length, position, (error, bytesRead) => {
        if (error === null) resolve(bytesRead);
        else reject(translate(error));
      });
    }),

  write: (fd, bytes, position) =>
    new Promise((resolve, reject) => {
      const writeFrom = (done: number) => {
        fs.write(fd, bytes, done, bytes.length - done, position + done, (error, written) => {
          if (error !== null) reject(translate(error, undefined, bytes.length));
          else if (done + written >= bytes.length) resolve();
          // A disk that is nearly full takes a part first and says ENOSPC on the next try.
          else writeFrom(done + written);
        });
      };
      writeFrom(0);
    }),

  truncate: (fd, sizeBytes) => coded(undefined, ftruncate(fd, sizeBytes), sizeBytes),
  sync: (fd) => coded(undefined, fsync(fd)),

  async syncDirectory(path) {
    const fd = await coded(path, open(path, flags.read));
    try {
      await coded(path, fsync(fd));
    } finally {
      await close(fd);
    }
  },

  sizeOf: (fd) => fs.fstatSync(fd).size,

  async stat(path) {
    const stat = await fs.promises.stat(path).catch(absent);
    if (stat === undefined) return undefined;
    return { sizeBytes: stat.size, allocatedBytes: stat.blocks * statBlockBytes, modifiedAtMs: stat.mtimeMs };
  },

  list: async (path) => (await fs.promises.readdir(path).catch(absent)) ?? [],

  // Synchronous inside: a start with 20,000 blobs takes a tenth of a second this way and over a second through the thread pool.
  async listFiles(path) {
    if (!fs.statSync(path, { throwIfNoEntry: false })?.isDirectory()) return [];
    const files: NamedFile[] = [];
    for (const entry of fs.readdirSync(path, { withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const stat = fs.statSync(`${path}/${entry.name}`, { throwIfNoEntry: false });
      if (stat !== undefined) files.push({ name: entry.name, sizeBytes: stat.size });
    }
    return files;
  },

  makeDirectory: async (path) =>
    (await coded(path, fs.promises.mkdir(path, { recursive: true, mode: 0o755 }))) !== undefined,
  rename: (from, to) => coded(to, fs.promises.rename(from, to)),
  protect: (path) => coded(path, fs.promises.chmod(path, 0o444)),
  removeFile: (path) => unlink(path).catch(absent),
  remove: (path) => coded(path, fs.promises.rm(path, { recursive: true, force: true })),

  async freeBytes(path) {
    const stat = await fs.promises.statfs(path);
    return stat.bavail * stat.bsize;
  },
};

async function coded<Value>(path: string | undefined, result: Promise<Value>, neededBytes?: number): Promise<Value> {
  try {
    return await result;
  } catch (error) {
    throw translate(error, path, neededBytes);
  }
}

function absent(error: unknown): undefined {
  if (isAbsence(error)) return undefined;
  throw translate(error);
}

/** Tells whether an error says that a file or directory is not there. */
export function isAbsence(error: unknown): boolean {
  return errnoOf(error) === 'ENOENT';
}

function errnoOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function translate(error: unknown, path?: string, neededBytes?: number): unknown {
  const where = path ?? (error instanceof Error && 'path' in error ? error.path : undefined);
  switch (errnoOf(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new StoreError('STORE_FULL', 'the disk is full', { cause: error, details: { path: where, neededBytes } });
    case 'EROFS':
    case 'EACCES':
    case 'EPERM':
      return new StoreError('STORE_UNWRITABLE', 'the data directory cannot be written', {
        cause: error,
        details: { path: where },
      });
    case 'EIO':
      return new StoreError('STORE_CORRUPT', 'the disk cannot read or write a block', {
        cause: error,
        details: { path: where },
      });
    default:
      return error;
  }
}
