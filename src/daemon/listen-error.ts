import { isCode, toError } from '../lib/errors.ts';
import { DaemonError } from './errors.ts';

/**
 * Runs what binds an address and says a failure to bind in words that name the key to change.
 * The codes of the platform may be some causes down, below the error of the part that listened.
 */
export async function binding<Value>(key: string, address: string, start: () => Promise<Value>): Promise<Value> {
  try {
    return await start();
  } catch (error) {
    const code = findBindCode(error);
    if (code === undefined) throw error;
    const details = { key, address };
    if (code === 'EADDRINUSE') {
      throw new DaemonError('DAEMON_PORT_TAKEN', `${address} is taken by another process (${key}, flag --${key})`, {
        cause: error,
        details,
      });
    }
    const why = code === 'EACCES' ? 'may not be bound by this user' : 'is not an address of this machine';
    throw new DaemonError('DAEMON_ADDRESS_REFUSED', `${address} ${why} (${key}, flag --${key})`, {
      cause: error,
      details,
    });
  }
}

type BindCode = 'EADDRINUSE' | 'EACCES' | 'EADDRNOTAVAIL';

function findBindCode(thrown: unknown): BindCode | undefined {
  // Deeper than any wrapping there is; a loop of causes must not hang the start.
  for (let error: unknown = thrown, depth = 0; error !== undefined && depth < 8; depth += 1) {
    const known = toError(error);
    if (isCode(known, 'EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL')) return known.code;
    // libp2p keeps of the errors below only their text.
    const written = /\blisten (EADDRINUSE|EACCES|EADDRNOTAVAIL)\b/.exec(known.message)?.[1];
    if (written !== undefined) return written as BindCode;
    error = known.cause;
  }
  return undefined;
}
