/**
 * What is wrong now, in words a person can act on. A part sets a condition under its code and clears it; setting it again keeps
 * its start. Ready = no condition of severity `blocking`.
 */
export interface Health {
  set(condition: Omit<HealthCondition, 'sinceMs'>): void;
  clear(code: string): void;
  conditions(): readonly HealthCondition[];
  readonly isReady: boolean;
}

export interface HealthCondition {
  /** Stable, upper snake, folder first: `ORIGIN_BREAKER_OPEN`. */
  readonly code: string;
  /** blocking = not ready; degraded = works worse; notice = worth knowing. */
  readonly severity: 'blocking' | 'degraded' | 'notice';
  readonly text: string;
  readonly remedy: string;
  /** Wall clock. */
  readonly sinceMs: number;
}
