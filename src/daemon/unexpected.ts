import type { Health } from '../health/health.ts';
import { toError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/**
 * Takes errors that no part has claimed: a bug of ours or of a library. The daemon stays up, since every byte it serves is verified
 * on its own, and one broken request must not cut a node's pulls; but it says so in the log, the metrics and its health.
 */
export function watchUnexpectedErrors(deps: {
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly health: Health;
}): Disposable {
  const count = deps.metrics.counter({
    name: 'shoal_daemon_unexpected_errors_total',
    help: 'Errors that no part of the program expected; each is a bug, see the log.',
  });
  const take = (thrown: unknown) => {
    const error = toError(thrown);
    count.add(1);
    deps.logger.error({ error }, 'unexpected error');
    deps.health.set({
      code: 'DAEMON_UNEXPECTED_ERROR',
      severity: 'degraded',
      text: `an error came up that nothing expected: ${error.message}`,
      remedy: 'please report it with the line "unexpected error" of the log; a restart clears this',
    });
  };
  process.on('uncaughtException', take);
  process.on('unhandledRejection', take);
  return {
    [Symbol.dispose]() {
      process.off('uncaughtException', take);
      process.off('unhandledRejection', take);
    },
  };
}
