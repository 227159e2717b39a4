/**
 * The logging face every part receives: constant message, data in fields. pino's own logger satisfies it.
 * Levels say who acts: error = the operator must, warn = degraded but working, info = life cycle and one line per finished
 * transfer, debug = per peer, trace = per piece.
 */
export interface Logger {
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
  debug(fields: object, message: string): void;
  trace(fields: object, message: string): void;
  child(bindings: Record<string, unknown>): Logger;
}

const ignore = () => {};

/** Discards everything; for tests and for tools that print their own output. */
export const silentLogger: Logger = {
  error: ignore,
  warn: ignore,
  info: ignore,
  debug: ignore,
  trace: ignore,
  child: () => silentLogger,
};
