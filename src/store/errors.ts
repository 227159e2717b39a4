import { CodedError } from '../lib/errors.ts';

export type StoreErrorCode =
  /** The blob, manifest or tag is not here. {digest} */
  | 'STORE_NOT_FOUND'
  /** The bytes do not hash to the digest they were stored for. {expected, actual} */
  | 'STORE_DIGEST_MISMATCH'
  /** Another process uses the data directory. {path, pid} */
  | 'STORE_LOCKED'
  /** The data directory cannot be written. {path} */
  | 'STORE_UNWRITABLE'
  /** The disk or the quota is full. {neededBytes} */
  | 'STORE_FULL'
  /** A file or the index is damaged. {path} */
  | 'STORE_CORRUPT'
  /** The data directory was written by a newer format. {found, supported} */
  | 'STORE_FORMAT_UNSUPPORTED'
  /** The ingest was closed or discarded before the call. {digest} */
  | 'STORE_INGEST_CLOSED'
  /** The digest is being ingested by somebody else in this process. {digest} */
  | 'STORE_INGEST_OPEN'
  /** A commit came before all pieces were there. {digest, held, pieces} */
  | 'STORE_INGEST_INCOMPLETE';

export class StoreError extends CodedError<StoreErrorCode> {}
