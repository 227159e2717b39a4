import type { PullRequest } from '../image/images.ts';
import { isCode } from '../lib/errors.ts';
import type { Namespace } from '../oci/namespace.ts';
import { findPlatform } from '../oci/platform.ts';
import { parseReference } from '../oci/reference.ts';
import { parseTag } from '../oci/tag.ts';
import type { PullOrder } from './api.ts';
import { AdminError } from './errors.ts';

/** What docker means by a reference without a tag. */
const defaultTag = parseTag('latest');

/** Reads the body of a pull. @throws ADMIN_BAD_REQUEST */
export function readPullOrder(body: unknown, defaultOrigin: Namespace): PullRequest {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw bad('the body is not a JSON object');
  const fields: Partial<Record<keyof PullOrder, unknown>> = body;
  const { reference: text, platform: platformText, ...rest } = fields;
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined) throw bad(`unknown field ${JSON.stringify(unknown.slice(0, 64))}`);
  if (typeof text !== 'string') throw bad('reference is not text');
  const { repository, tag, digest } = readReference(text, defaultOrigin);
  const reference = digest === undefined ? { tag: tag ?? defaultTag } : { digest };
  if (platformText === undefined) return { repository, reference };
  if (platformText === 'all') return { repository, reference, platform: 'all' };
  const platform = typeof platformText === 'string' ? findPlatform(platformText) : undefined;
  if (platform === undefined) throw bad('platform is neither os/architecture[/variant] nor "all"');
  return { repository, reference, platform };
}

function readReference(text: string, namespace: Namespace) {
  try {
    return parseReference(text, { namespace, tag: defaultTag });
  } catch (error) {
    if (isCode(error, 'OCI_REFERENCE_INVALID')) throw bad(error.message);
    throw error;
  }
}

function bad(message: string): AdminError {
  return new AdminError('ADMIN_BAD_REQUEST', message);
}
