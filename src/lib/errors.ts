/**
 * The one error shape of the program: a code from a folder's union, data about what it happened to, and the cause.
 * Edges alone turn a code into an HTTP status, an exit code or a log level; everything inside matches on `code`.
 */
export class CodedError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: Code, message: string, options: { cause?: unknown; details?: Record<string, unknown> } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CodedError';
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** Tells whether an error carries one of the codes; works across package copies because it looks at data, not at classes. */
export function isCode<Code extends string>(error: unknown, ...codes: readonly Code[]): error is CodedError<Code> {
  return error instanceof Error && 'code' in error && (codes as readonly unknown[]).includes(error.code);
}

/** Tells whether an error is the reason of an aborted signal or the platform's own abort. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === 'AbortError' || ('code' in error && error.code === 'ABORT_ERR'));
}

/** Returns the value as an Error, so that a thrown string keeps its text. */
export function toError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value));
}
