import { CodedError } from '../lib/errors.ts';

export type OciErrorCode =
  /** A digest is not `<algorithm>:<lower hex>` of a supported algorithm. */
  | 'OCI_DIGEST_INVALID'
  /** A repository name breaks the grammar or the length limit. */
  | 'OCI_NAME_INVALID'
  /** A tag breaks the grammar. */
  | 'OCI_TAG_INVALID'
  /** An image reference cannot be read. */
  | 'OCI_REFERENCE_INVALID'
  /** A manifest is not a well-formed manifest or index. */
  | 'OCI_MANIFEST_INVALID'
  /** A manifest is larger than the limit. */
  | 'OCI_MANIFEST_TOO_LARGE';

export class OciError extends CodedError<OciErrorCode> {}
