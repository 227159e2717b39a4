import type { Logger } from '../lib/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { ObservableHealth } from './conditions.ts';
import type { HealthCondition } from './health.ts';

const severities = ['blocking', 'degraded', 'notice'] as const;
const levels = { blocking: 'error', degraded: 'warn', notice: 'info' } as const;

/** Logs each change of health and keeps the gauges of it; the returned function stops that. */
export function observeHealth(health: ObservableHealth, logger: Logger, metrics: Metrics): () => void {
  const conditions = metrics.gauge<'severity'>({
    name: 'shoal_health_conditions_count',
    help: 'Conditions that hold now, by severity.',
    labels: ['severity'],
  });
  const ready = metrics.gauge({ name: 'shoal_health_ready_state', help: '1 when the node is ready, else 0.' });
  const count = () => {
    const now = health.conditions();
    for (const severity of severities) {
      conditions.set(now.filter((condition) => condition.severity === severity).length, { severity });
    }
    ready.set(health.isReady ? 1 : 0);
  };
  count();
  return health.onChange(({ kind, condition }) => {
    count();
    if (kind === 'raised') logger[levels[condition.severity]](fieldsOf(condition), 'health condition raised');
    else logger.info({ condition: condition.code }, 'health condition cleared');
  });
}

function fieldsOf(condition: HealthCondition): object {
  return { condition: condition.code, text: condition.text, remedy: condition.remedy };
}
