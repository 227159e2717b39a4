import { open, rename, writeFile } from 'node:fs/promises';
import { toError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { Digest } from '../oci/digest.ts';
import type { Transfer } from '../swarm/swarm.ts';
import { findTransfer, transferLine } from './transfer-record.ts';

/**
 * Remembers where the bytes of each blob came from and where its time went, over restarts: the latest transfer of a digest, in memory
 * and as lines of a file that is appended to. The file may be cut, damaged or missing: what cannot be read is left out, and a disk
 * that refuses it costs the memory of this life only. It is never synced; a crash may lose the last lines.
 */
export interface TransferHistory extends AsyncDisposable {
  /** Takes a transfer that has ended. */
  add(transfer: Transfer): void;
  find(digest: Digest): Transfer | undefined;
  readonly size: number;
}

export interface TransferHistoryOptions {
  readonly path: string;
  /** Transfers remembered; older ones make room. */
  readonly maxTransfers: number;
  /** Size at which the file is written anew with what is remembered. */
  readonly maxFileBytes: number;
}

/** Reads what earlier lives of this node left. */
export async function openTransferHistory(
  { logger }: { readonly logger: Logger },
  options: TransferHistoryOptions,
): Promise<TransferHistory> {
  const { path, maxTransfers, maxFileBytes } = options;
  const transfers = new Map<Digest, Transfer>();
  let isBroken = false;
  const failed = (error: unknown) => {
    if (!isBroken) logger.warn({ path, error: toError(error) }, 'transfers cannot be remembered over a restart');
    isBroken = true;
  };
  const remember = (transfer: Transfer) => {
    transfers.delete(transfer.digest);
    transfers.set(transfer.digest, transfer);
    for (const oldest of transfers.keys()) {
      if (transfers.size <= maxTransfers) break;
      transfers.delete(oldest);
    }
  };

  let fileBytes = 0;
  let unread = 0;
  try {
    const tail = await readTail(path, maxFileBytes);
    fileBytes = tail.fileBytes;
    for (const line of tail.lines) {
      const transfer = findTransfer(line);
      if (transfer === undefined) unread += 1;
      else remember(transfer);
    }
  } catch (error) {
    failed(error);
  }
  if (unread > 0) logger.warn({ path, lines: unread }, 'lines of earlier transfers cannot be read and are left out');

  let pending: string[] = [];
  let writing: Promise<void> | undefined;
  const write = async () => {
    while (pending.length > 0 && !isBroken) {
      const lines = pending.join('');
      pending = [];
      const isFull = fileBytes + lines.length > maxFileBytes;
      try {
        if (isFull) {
          const kept = [...transfers.values()].map(transferLine).join('');
          // Half of the bound at most, so that this does not come with every line.
          const over = kept.length - maxFileBytes / 2;
          const content = over <= 0 ? kept : kept.slice(kept.indexOf('\n', over - 1) + 1);
          await writeFile(`${path}.new`, content, { mode: 0o600 });
          await rename(`${path}.new`, path);
          fileBytes = Buffer.byteLength(content);
        } else {
          await writeFile(path, lines, { flag: 'a', mode: 0o600 });
          fileBytes += Buffer.byteLength(lines);
        }
      } catch (error) {
        failed(error);
      }
    }
    writing = undefined;
  };

  return {
    add(transfer) {
      // Found complete: nothing came from anywhere, and what is known of how it came stays.
      if (transfer.state === 'complete' && transfer.bytes.origin + transfer.bytes.peer === 0) return;
      remember(transfer);
      if (isBroken || pending.length >= maxPending) return;
      pending.push(transferLine(transfer));
      writing ??= write();
    },
    find: (digest) => transfers.get(digest),
    get size() {
      return transfers.size;
    },
    async [Symbol.asyncDispose]() {
      await writing;
    },
  };
}

// Lines waiting for a disk that hangs; what comes beyond is remembered in memory only.
const maxPending = 1024;

async function readTail(path: string, maxBytes: number): Promise<{ fileBytes: number; lines: string[] }> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if ('code' in toError(error) && (error as NodeJS.ErrnoException).code === 'ENOENT')
      return { fileBytes: 0, lines: [] };
    throw error;
  }
  try {
    const { size } = await file.stat();
    const start = Math.max(0, size - maxBytes);
    const buffer = Buffer.alloc(size - start);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, start);
    const lines = buffer.toString('utf8', 0, bytesRead).split('\n');
    // The first may be cut by the bound, the last by a crash; without its end of line the next would be glued to it.
    if (start > 0) lines.shift();
    const isCut = lines.pop() !== '';
    return { fileBytes: isCut ? Number.POSITIVE_INFINITY : size, lines };
  } finally {
    await file.close();
  }
}
