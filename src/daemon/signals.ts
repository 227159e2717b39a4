import type { Logger } from '../lib/logger.ts';
import type { Daemon } from './daemon.ts';

/** 128 + SIGINT, as shells count it; the cut of a second signal. */
const cutExitCode = 130;

/** Waits for SIGTERM or SIGINT and stops the daemon, letting running requests end. A second signal ends the process at once. */
export async function stopOnSignals(daemon: Daemon, logger: Logger): Promise<void> {
  const stopping = Promise.withResolvers<NodeJS.Signals>();
  let received = 0;
  const onSignal = (signal: NodeJS.Signals) => {
    received += 1;
    if (received === 1) stopping.resolve(signal);
    else {
      logger.warn({ signal }, 'second signal, leaving at once');
      process.exit(cutExitCode);
    }
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  try {
    const signal = await stopping.promise;
    logger.info({ signal }, 'stopping, running requests may end; a second signal cuts');
    await daemon.stop();
    logger.info({}, 'stopped');
  } finally {
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
  }
}
