import type { Files } from './files.ts';
import { OpenFile } from './open-file.ts';

/**
 * Room kept for the index on a disk that others may fill: a file of real blocks that is given up when LevelDB must be opened
 * again, and taken back when there is room.
 */
export interface MetadataReserve {
  release(): Promise<void>;
  /** Takes the room back if it can be had. */
  ensure(): Promise<void>;
}

// An opening writes the recovered log as one table (4 MiB at most), a manifest and a new log.
const reserveBytes = 8 * 1024 * 1024;
const stepBytes = 1024 * 1024;

export function createMetadataReserve(files: Files, path: string): MetadataReserve {
  return {
    release: () => files.remove(path),
    async ensure() {
      if ((await files.stat(path))?.sizeBytes === reserveBytes) return;
      // Random bytes would only matter to file systems that compress; zeros written out take blocks on ext4, xfs and tmpfs.
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
