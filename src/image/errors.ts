import { CodedError } from '../lib/errors.ts';

export type ImageErrorCode =
  /** Nobody knows the manifest or tag. {repository, reference} */
  | 'IMAGE_MANIFEST_UNKNOWN'
  /** Nobody knows the blob. {repository, digest} */
  | 'IMAGE_BLOB_UNKNOWN'
  /** Nobody knows the repository. {repository} */
  | 'IMAGE_REPOSITORY_UNKNOWN'
  /** The origin refuses and nothing is here. {namespace, cause} */
  | 'IMAGE_UNAUTHORIZED'
  | 'IMAGE_DENIED'
  /** It exists or may exist, and can't be had now. {retryAfterMs?} */
  | 'IMAGE_UNAVAILABLE'
  /** The namespace is not configured and not allowed. {namespace} */
  | 'IMAGE_NAMESPACE_REFUSED';

export class ImageError extends CodedError<ImageErrorCode> {}
