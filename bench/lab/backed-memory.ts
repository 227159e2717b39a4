/** Makes the kernel's free memory memory that it really has, for as long as a run needs it. */
import { readFileSync } from 'node:fs';
import { type FileHandle, open, rm, statfs } from 'node:fs/promises';
import { freemem } from 'node:os';
import { join } from 'node:path';

// statfs(2)
const tmpfsType = 0x01021994;
const MiB = 1024 * 1024;
const chunk = Buffer.alloc(MiB);
/** Free beyond what was taken so far: what a fleet takes within a few of the steps. */
const aheadBytes = 256 * MiB;
const stepMs = 50;
/** Above what stores leave free, `cache.minFreeBytes`. */
const storesLeaveBytes = 1024 * MiB;

/**
 * Fills a file with zeros, and gives its memory free as fast as memory is taken. A virtual machine that uses a page for the first time, or again after
 * it was free for a moment, waits for its host to find one: up to 1.2 CPU seconds per GiB of new files in memory, a fifth of all that a
 * fleet takes. That is neither the daemons' work nor the same from run to run. Does nothing where `directory` is not in memory.
 */
export async function backMemory(directory: string, sizeBytes: number): Promise<AsyncDisposable> {
  const { type, bavail, bsize } = await statfs(directory);
  if (type !== tmpfsType) return { [Symbol.asyncDispose]: async () => undefined };
  const path = join(directory, 'backed-memory');
  await using stack = new AsyncDisposableStack();
  const file = stack.use(await open(path, 'w'));
  await rm(path);
  // Stores ask for all of a blob before they take it: there must be as much room as without what is held.
  const spareBytes = bavail * bsize - sizeBytes - storesLeaveBytes;
  const heldBytes = Math.max(0, Math.min(sizeBytes, freemem() / 2, spareBytes));
  for (let written = 0; written < heldBytes; written += chunk.length) await file.write(chunk);
  const over = new AbortController();
  const releasing = release(file, heldBytes, over.signal);
  stack.defer(async () => {
    over.abort();
    await releasing;
  });
  return stack.move();
}

async function release(file: FileHandle, heldBytes: number, signal: AbortSignal): Promise<void> {
  const freeAtFirst = readFreeBytes();
  let leftBytes = heldBytes;
  while (leftBytes > 0 && !signal.aborted) {
    const takenBytes = freeAtFirst + (heldBytes - leftBytes) - readFreeBytes();
    const nextBytes = Math.max(0, Math.min(leftBytes, heldBytes - takenBytes - aheadBytes));
    if (nextBytes < leftBytes) await file.truncate(nextBytes);
    leftBytes = nextBytes;
    await new Promise((resolve) => setTimeout(resolve, stepMs));
  }
}

/** What nothing uses, not even a cache. */
function readFreeBytes(): number {
  return Number(/^MemFree: +(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024;
}
