import { execFile } from 'node:child_process';
import { toError } from '../../lib/errors.ts';
import { OriginError } from '../errors.ts';
import type { Credentials } from './credentials.ts';

// A helper may talk to a cloud API; beyond this a pull is better off failing with a message that names the helper.
const timeoutMs = 15_000;
// The largest known answer is a JWT of a few KiB.
const maxOutputBytes = 256 * 1024;

/** The user name by which helpers mark an identity token. */
const identityUser = '<token>';

/**
 * Runs `docker-credential-<helper> get` without a shell and reads its answer; undefined = it has nothing for this server.
 * @throws ORIGIN_UNAUTHORIZED when the helper is missing, fails or answers nonsense
 */
export async function askCredentialHelper(
  helper: string,
  server: string,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  const failed = (message: string, cause?: unknown) =>
    new OriginError('ORIGIN_UNAUTHORIZED', message, {
      ...(cause === undefined ? {} : { cause: toError(cause) }),
      details: { helper, server },
    });
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(helper)) throw failed('the name of the credential helper is not valid');

  const { code, output } = await new Promise<{ code: number | string; output: string }>((resolve, reject) => {
    const child = execFile(
      `docker-credential-${helper}`,
      ['get'],
      { timeout: timeoutMs, maxBuffer: maxOutputBytes, encoding: 'utf8', signal, killSignal: 'SIGKILL' },
      (error, stdout) => {
        if (signal.aborted) reject(signal.reason);
        else resolve({ code: error === null ? 0 : (error.code ?? 'killed'), output: stdout });
      },
    );
    // A helper that ends without reading breaks the pipe; its exit code tells the story.
    child.stdin?.on('error', () => {});
    child.stdin?.end(server);
  });
  if (code !== 0) {
    // Fixed text of docker-credential-helpers; the exit code alone does not tell absence from failure.
    if (/credentials not found/i.test(output)) return undefined;
    throw failed(`the credential helper ended with ${code}`);
  }
  return readHelperAnswer(output) ?? Promise.reject(failed('the credential helper gave no readable answer'));
}

/** Reads `{"Username": ..., "Secret": ...}`; undefined when it is not that. */
export function readHelperAnswer(output: string): Credentials | undefined {
  let answer: { Username?: unknown; Secret?: unknown } | null;
  try {
    answer = JSON.parse(output);
  } catch {
    return undefined;
  }
  if (typeof answer?.Username !== 'string' || typeof answer.Secret !== 'string' || answer.Secret === '')
    return undefined;
  if (answer.Username === identityUser) return { kind: 'identity', token: answer.Secret };
  return { kind: 'basic', username: answer.Username, password: answer.Secret };
}
