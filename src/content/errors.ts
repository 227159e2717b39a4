import { CodedError } from '../lib/errors.ts';

export type ContentErrorCode =
  /** The bytes ended before the size that was promised. {path?, positionBytes} */
  | 'CONTENT_SHORT'
  /** Reading the bytes failed; the cause says why. {path?, positionBytes} */
  | 'CONTENT_READ_FAILED'
  /** The hash thread died; the blob can be hashed again by a new verifier. */
  | 'CONTENT_THREAD_LOST'
  /** The verifier, or all of them, was closed before the digest was known. */
  | 'CONTENT_CLOSED'
  /** More verifiers are open than allowed. {maxOpen} */
  | 'CONTENT_TOO_MANY_OPEN';

export class ContentError extends CodedError<ContentErrorCode> {}
