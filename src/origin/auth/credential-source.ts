import { readFile } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import { toError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import { SingleFlight } from '../../lib/single-flight.ts';
import { OriginError } from '../errors.ts';
import type { ConfiguredCredentials } from '../origin-options.ts';
import { askCredentialHelper } from './credential-helper.ts';
import type { Credentials } from './credentials.ts';
import { findStoredCredentials, readDockerConfig } from './docker-config.ts';

/** Finds the credentials of one origin. */
export interface CredentialSource {
  /** Returns undefined for an anonymous origin. @throws ORIGIN_UNAUTHORIZED when a named source cannot be read */
  find(signal: AbortSignal): Promise<Credentials | undefined>;
  /** Forgets what was found, because the origin refused it. */
  forget(): void;
}

// Docker's file and helpers are asked again after this, so that a rotated secret or a renewed cloud token is picked up soon.
const keptMs = 5 * 60_000;

/** Looks in the configuration first, then in docker's config file and its helpers. */
export function createCredentialSource(
  deps: { readonly clock: Clock; readonly logger: Logger },
  options: {
    readonly namespace: string;
    readonly configured?: ConfiguredCredentials;
    readonly dockerConfigFile?: string;
  },
): CredentialSource {
  const { configured, dockerConfigFile, namespace } = options;
  const lookups = new SingleFlight<string, Credentials | undefined>();
  let kept: { readonly credentials: Credentials | undefined; readonly untilMs: number } | undefined;

  const findStored = async (file: string, signal: AbortSignal): Promise<Credentials | undefined> => {
    const text = await readFile(file, { encoding: 'utf8', signal }).catch((error: NodeJS.ErrnoException) => {
      signal.throwIfAborted();
      if (error.code !== 'ENOENT') deps.logger.warn({ file, code: error.code }, 'docker config not read');
      return undefined;
    });
    const config = text === undefined ? undefined : readDockerConfig(text);
    if (text !== undefined && config === undefined) {
      deps.logger.warn({ file }, 'docker config is not valid JSON');
    }
    const stored = config === undefined ? undefined : findStoredCredentials(config, namespace);
    if (stored === undefined || stored.kind !== 'helper') return stored;
    return await askCredentialHelper(stored.helper, stored.server, signal);
  };

  return {
    async find(signal) {
      if (configured !== undefined) return await readConfigured(configured, namespace, signal);
      if (dockerConfigFile === undefined) return undefined;
      const nowMs = deps.clock.nowMs();
      if (kept !== undefined && nowMs < kept.untilMs) return kept.credentials;
      const credentials = await lookups.run(dockerConfigFile, signal, (shared) => findStored(dockerConfigFile, shared));
      kept = { credentials, untilMs: nowMs + keptMs };
      return credentials;
    },
    forget() {
      kept = undefined;
    },
  };
}

async function readConfigured(
  configured: ConfiguredCredentials,
  namespace: string,
  signal: AbortSignal,
): Promise<Credentials> {
  if ('token' in configured) return { kind: 'bearer', token: configured.token };
  const { username } = configured;
  if ('password' in configured) return { kind: 'basic', username, password: configured.password };
  try {
    const text = await readFile(configured.passwordFile, { encoding: 'utf8', signal });
    return { kind: 'basic', username, password: text.replace(/\r?\n$/, '') };
  } catch (error) {
    signal.throwIfAborted();
    throw new OriginError('ORIGIN_UNAUTHORIZED', 'the password file of the origin cannot be read', {
      cause: toError(error),
      details: { namespace, passwordFile: configured.passwordFile },
    });
  }
}
