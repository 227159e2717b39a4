import type { Logger } from '../lib/logger.ts';

/** 128 + SIGINT, as shells count it; the cut of a second signal. */
const cutExitCode = 130;

export interface StopSignals extends Disposable {
  /** Resolves at the first SIGTERM or SIGINT. */
  readonly first: Promise<NodeJS.Signals>;
}

/**
 * Takes SIGTERM and SIGINT: the first asks for a stop in which running requests may end, a second ends the process at once.
 * To be called before the start begins, so that a signal in the middle of it undoes what was started.
 */
export function catchStopSignals(logger: Logger): StopSignals {
  const first = Promise.withResolvers<NodeJS.Signals>();
  let received = 0;
  const onSignal = (signal: NodeJS.Signals) => {
    received += 1;
    if (received === 1) {
      logger.info({ signal }, 'stopping, running requests may end; a second signal cuts');
      first.resolve(signal);
    } else {
      logger.warn({ signal }, 'second signal, leaving at once');
      process.exit(cutExitCode);
    }
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return {
    first: first.promise,
    [Symbol.dispose]() {
      process.off('SIGTERM', onSignal);
      process.off('SIGINT', onSignal);
    },
  };
}
