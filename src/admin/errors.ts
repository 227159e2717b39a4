import { CodedError } from '../lib/errors.ts';
import type { ApiError } from './api.ts';

export type AdminErrorCode =
  /** No such path or method. */
  | 'ADMIN_NOT_FOUND'
  /** The body or a field of it cannot be read. */
  | 'ADMIN_BAD_REQUEST'
  /** The Host or Origin header names somebody else: a page in a browser is trying to reach this API. */
  | 'ADMIN_FOREIGN_HOST'
  /** The token is missing or wrong, or the request comes from another machine and no token is set. */
  | 'ADMIN_FORBIDDEN'
  /** As many pulls run as may. */
  | 'ADMIN_BUSY'
  /** The node stops before the pull has ended. */
  | 'ADMIN_STOPPING'
  /** A bug; the log has the cause. */
  | 'ADMIN_INTERNAL';

export class AdminError extends CodedError<AdminErrorCode> {}

interface Told {
  readonly status: number;
  readonly remedy?: string;
}

const answers: Record<AdminErrorCode, Told> = {
  ADMIN_NOT_FOUND: { status: 404 },
  ADMIN_BAD_REQUEST: { status: 400 },
  ADMIN_FOREIGN_HOST: { status: 403, remedy: 'Ask by an address of this machine, or add the name to the admin hosts.' },
  ADMIN_FORBIDDEN: {
    status: 403,
    remedy:
      'Send the admin token (SHOAL_ADMIN_TOKEN, or --config with the file that holds it), or ask from the node itself.',
  },
  ADMIN_BUSY: { status: 503, remedy: 'Wait for a running pull to end.' },
  ADMIN_STOPPING: { status: 503, remedy: 'Pull again when the daemon runs again: it goes on with the pieces it has.' },
  ADMIN_INTERNAL: { status: 500, remedy: 'Look for the cause in the log of the node.' },
};

/** Turns an error of this folder into an answer; anything else is a bug and tells nothing. */
export function toAnswer(error: unknown): { status: number; error: ApiError } {
  const known =
    error instanceof AdminError ? error : new AdminError('ADMIN_INTERNAL', 'the request failed for an unknown reason');
  const { status, remedy } = answers[known.code];
  return { status, error: { code: known.code, message: known.message, ...(remedy !== undefined && { remedy }) } };
}
