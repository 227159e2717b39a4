import { readFile } from 'node:fs/promises';
import { toError } from '../lib/errors.ts';
import { DaemonError } from './errors.ts';

// 16 characters of a random secret are out of reach of guessing through a network; the schema asks the same of `fleet.secret`.
const minSecretLength = 16;

/** Reads the fleet secret from the configuration or its file; undefined = this node is no member of a fleet. @throws DAEMON_SECRET_UNREADABLE */
export async function readFleetSecret(fleet: {
  readonly secret?: string | undefined;
  readonly secretFile?: string | undefined;
}): Promise<string | undefined> {
  const path = fleet.secretFile;
  if (path === undefined) return fleet.secret;
  let text: string;
  try {
    text = (await readFile(path, 'utf8')).trim();
  } catch (error) {
    throw new DaemonError(
      'DAEMON_SECRET_UNREADABLE',
      `cannot read the fleet secret from ${path}: ${toError(error).message}`,
      {
        cause: error,
        details: { path },
      },
    );
  }
  if (text.length < minSecretLength) {
    throw new DaemonError(
      'DAEMON_SECRET_UNREADABLE',
      `the fleet secret in ${path} is shorter than ${minSecretLength} characters`,
      {
        details: { path },
      },
    );
  }
  return text;
}
