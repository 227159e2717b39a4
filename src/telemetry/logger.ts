import { pino } from 'pino';
import { toError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { formatLogLine } from './log-text.ts';

export interface LoggerOptions {
  readonly level: 'error' | 'warn' | 'info' | 'debug' | 'trace';
  readonly format: 'json' | 'text';
  readonly destination: LogDestination;
  readonly isColoured?: boolean;
}

/** Where finished lines go; a stream of the process, or an array in tests. */
interface LogDestination {
  write(line: string): unknown;
}

// Named wherever they may stand: at the top of the fields, or one object down (headers, options, a request).
const secretNames: ReadonlySet<string> = new Set([
  'secret',
  'password',
  'passwd',
  'token',
  'access_token',
  'refresh_token',
  'identitytoken',
  'registrytoken',
  'authorization',
  'Authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'privateKey',
  'credentials',
  'auth',
]);

/** Creates the logger of a process: pino's JSON lines, or the same as text for people. Secrets are masked by field name. */
export function createLogger(options: LoggerOptions): Logger {
  const { destination } = options;
  const sink =
    options.format === 'json'
      ? { write: (line: string) => void destination.write(line) }
      : { write: (line: string) => void destination.write(formatLogLine(line, options.isColoured === true)) };
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: (fields) => maskSecrets(fields, 1) },
      serializers: { error: describeError, err: describeError, cause: describeError },
    },
    sink,
  );
}

/**
 * Masks by name, in the fields and so many levels of objects below; what is in order is given back as it is. pino's own redaction copies
 * the fields and walks every path through them, which costs a line ten times as much (0.1 ms, 0.4 in a process that has just begun).
 */
function maskSecrets(fields: Record<string, unknown>, levels: number): Record<string, unknown> {
  let masked = fields;
  for (const [name, value] of Object.entries(fields)) {
    const shown = secretNames.has(name)
      ? '[redacted]'
      : isPlain(value) && levels > 0
        ? maskSecrets(value, levels - 1)
        : value;
    if (shown === value) continue;
    if (masked === fields) masked = { ...fields };
    masked[name] = shown;
  }
  return masked;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

// A chain of causes is finite in honest code; a loop in it must not hang the logger.
const maxCauses = 8;

/** Turns an error into data: code, message, details and the chain of causes; the stack only of bugs, which carry no code. */
function describeError(value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  const chain: object[] = [];
  for (let error: unknown = value; error !== undefined && chain.length < maxCauses; ) {
    const known = toError(error);
    const code = 'code' in known && typeof known.code === 'string' ? known.code : undefined;
    const details = 'details' in known && isFilled(known.details) ? known.details : undefined;
    chain.push({
      ...(code === undefined ? { name: known.name, stack: known.stack } : { code }),
      message: known.message,
      ...(details === undefined ? {} : { details }),
    });
    error = known.cause;
  }
  const [first, ...causes] = chain;
  return causes.length === 0 ? first : { ...first, causes };
}

function isFilled(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}
