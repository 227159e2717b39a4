import type { Files } from './files/files.ts';
import type { KeyValue } from './key-value.ts';

/** The database the disk store keeps its index in: what opening, repairing and watching over it takes. */
export interface IndexDatabase {
  /** To be called once per directory and process. @throws STORE_LOCKED, STORE_CORRUPT, STORE_UNWRITABLE, STORE_FULL */
  open(options: OpenDatabaseOptions): Promise<KeyValue>;
  /** Tells whether there is a database in the directory. */
  isThere(files: Files, directory: string): Promise<boolean>;
  /** Rewrites what can still be read of a closed database. @throws STORE_CORRUPT */
  repair(directory: string): Promise<void>;
  createSums(files: Files, directory: string, path: string): DatabaseSums;
}

export interface OpenDatabaseOptions {
  readonly directory: string;
  /** False once the store exists: an empty database must not silently take the place of one that is gone. */
  readonly createIfMissing: boolean;
  /** Hears once that something could not be read, so that the next start repairs. */
  readonly onDamage: () => void;
  /** Makes room on a full disk; false when there is still too little to open the database again. */
  readonly makeRoom: () => Promise<boolean>;
}

/** Notices files of a closed database that have changed on the disk. */
export interface DatabaseSums {
  /** Compares with what was noted; false when something has changed. Notes what is new. */
  check(): Promise<boolean>;
  /** Writes down the sums of what still exists, taking those of new files when the database is closed. */
  save(database: 'open' | 'closed'): Promise<void>;
}
