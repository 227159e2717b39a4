import type { Images, PullRequest } from '../image/images.ts';
import { isCode, toError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { PullLine } from './api.ts';
import { AdminError, toAnswer } from './errors.ts';

const imageCodes = [
  'IMAGE_MANIFEST_UNKNOWN',
  'IMAGE_BLOB_UNKNOWN',
  'IMAGE_REPOSITORY_UNKNOWN',
  'IMAGE_UNAUTHORIZED',
  'IMAGE_DENIED',
  'IMAGE_UNAVAILABLE',
  'IMAGE_NAMESPACE_REFUSED',
] as const;

const remedies: Partial<Record<string, string>> = {
  IMAGE_MANIFEST_UNKNOWN: 'Check the name, the tag and the platform.',
  IMAGE_BLOB_UNKNOWN: 'The image at its origin lacks this blob: push it there again.',
  IMAGE_UNAUTHORIZED: 'Give the node credentials for the origin (origins.<host>.username, passwordFile).',
  IMAGE_DENIED: "Check what the node's credentials for the origin may read.",
  IMAGE_UNAVAILABLE: 'Look at the origins in `shoal status`, and try again.',
  IMAGE_NAMESPACE_REFUSED: 'Add the host to origins or allowedOrigins.',
};

/**
 * Yields the progress of a pull as lines of JSON; a failure is the last line, since the status has gone out before. `stopping`
 * ends the pull with such a line as well; only a client that is `gone` is told nothing.
 */
export async function* walkPullLines(
  images: Pick<Images, 'pull'>,
  request: PullRequest,
  logger: Logger,
  { gone, stopping }: { readonly gone: AbortSignal; readonly stopping: AbortSignal },
): AsyncGenerator<string, void, void> {
  try {
    const signal = AbortSignal.any([gone, stopping]);
    for await (const progress of images.pull(request, signal)) yield lineOf(progress);
  } catch (thrown) {
    if (gone.aborted) return;
    if (stopping.aborted) {
      yield lineOf({
        kind: 'failed',
        error: toAnswer(new AdminError('ADMIN_STOPPING', 'the daemon is stopping')).error,
      });
      return;
    }
    const error = toError(thrown);
    if (!isCode(error, ...imageCodes)) {
      logger.error({ error }, 'pull failed for an unknown reason');
      yield lineOf({ kind: 'failed', error: { code: 'ADMIN_INTERNAL', message: 'the pull failed; see the log' } });
      return;
    }
    const remedy = remedies[error.code];
    const message = error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
    yield lineOf({ kind: 'failed', error: { code: error.code, message, ...(remedy !== undefined && { remedy }) } });
  }
}

function lineOf(line: PullLine): string {
  return `${JSON.stringify(line)}\n`;
}
