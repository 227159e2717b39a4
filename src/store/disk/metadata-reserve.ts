import type { Files } from '../files/files.ts';
import { OpenFile } from '../files/open-file.ts';

/**
 * Room kept for the index on a disk that others may fill: a file of real blocks that is given up when LevelDB must be opened
 * again, and taken back when there is plenty. What was given up also lets blobs be removed on a full disk, since that needs to
 * write a little first.
 */
export interface MetadataReserve {
  /** Gives the room up; returns whether the index can be opened again in what is free now. */
  release(): Promise<boolean>;
  /** Takes the room back if there is plenty. */
  ensure(): Promise<void>;
}

// An opening writes the recovered log as one table (4 MiB at most), a manifest and a new log.
const reserveBytes = 8 * 1024 * 1024;
const stepBytes = 1024 * 1024;

export function createMetadataReserve(files: Files, path: string, dataDir: string): MetadataReserve {
  return {
    async release() {
      await files.remove(path);
      return (await files.freeBytes(dataDir)) >= reserveBytes;
    },

    async ensure() {
      if ((await files.stat(path))?.sizeBytes === reserveBytes) return;
      if ((await files.freeBytes(dataDir)) < 2 * reserveBytes) return;
      // Zeros written out take blocks on ext4, xfs and tmpfs; a file system that compresses them away has no reserve.
      const zeros = Buffer.alloc(stepBytes);
      const file = await OpenFile.open(files, path, 'create');
      try {
        for (let at = 0; at < reserveBytes; at += stepBytes) await file.write(zeros, at);
        await file.close();
      } catch {
        await file.close();
        await files.remove(path);
      }
    },
  };
}
