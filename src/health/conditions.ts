import type { Clock } from '../lib/clock.ts';
import { Emitter } from '../lib/emitter.ts';
import type { Health, HealthCondition } from './health.ts';

interface HealthChange {
  readonly kind: 'raised' | 'cleared';
  readonly condition: HealthCondition;
}

/** Health that can be watched. */
export interface ObservableHealth extends Health {
  /** Told of each condition that begins, changes its severity or ends; the returned function stops that. */
  onChange(listener: (change: HealthChange) => void): () => void;
}

const order = { blocking: 0, degraded: 1, notice: 2 } as const;

/** Creates an empty health: nothing wrong, ready. */
export function createHealth(clock: Pick<Clock, 'wallMs'>): ObservableHealth {
  const conditions = new Map<string, HealthCondition>();
  const changes = new Emitter<HealthChange>();
  return {
    set(condition) {
      const before = conditions.get(condition.code);
      const current = { ...condition, sinceMs: before?.sinceMs ?? clock.wallMs() };
      conditions.set(condition.code, current);
      if (before?.severity !== current.severity) changes.emit({ kind: 'raised', condition: current });
    },
    clear(code) {
      const condition = conditions.get(code);
      if (condition === undefined) return;
      conditions.delete(code);
      changes.emit({ kind: 'cleared', condition });
    },
    conditions: () =>
      [...conditions.values()].sort(
        (left, right) => order[left.severity] - order[right.severity] || left.sinceMs - right.sinceMs,
      ),
    get isReady() {
      return !conditions.values().some((condition) => condition.severity === 'blocking');
    },
    onChange: (listener) => changes.on(listener),
  };
}
