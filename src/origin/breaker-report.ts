import type { Health } from '../health/health.ts';
import type { Clock } from '../lib/clock.ts';
import type { OriginMetrics } from './metrics.ts';
import type { OriginStatus } from './origin.ts';

/** Shows in metrics and health which origins are left alone. */
export interface BreakerReport extends Disposable {
  /** To be called whenever a state may have changed; does nothing if none has. */
  update(): void;
}

export function createBreakerReport(
  deps: { readonly clock: Clock; readonly metrics: OriginMetrics; readonly health: Health | undefined },
  status: () => readonly OriginStatus[],
): BreakerReport {
  let shown = '';
  let cancelUpdate: (() => void) | undefined;

  const update = () => {
    const stopped = status().filter(({ state }) => state !== 'ok');
    const now = stopped.map(({ namespace, state }) => `${namespace} ${state}`).join();
    if (now === shown) return;
    shown = now;
    const open = stopped.filter(({ state }) => state === 'open').map(({ namespace }) => namespace);
    const limited = stopped.filter(({ state }) => state === 'limited');
    deps.metrics.stoppedNamespaces.set(open.length, { state: 'open' });
    deps.metrics.stoppedNamespaces.set(limited.length, { state: 'limited' });
    showOpen(deps.health, open);
    showLimited(
      deps.health,
      limited.map(({ namespace }) => namespace),
    );
    cancelUpdate?.();
    cancelUpdate = undefined;
    // A limit ends by time alone; without this the condition would stay until the next request.
    const endsMs = Math.min(...limited.map(({ retryAtMs = 0 }) => retryAtMs)) - deps.clock.wallMs();
    if (limited.length > 0) cancelUpdate = deps.clock.schedule(Math.max(0, endsMs) + 1, update);
  };
  return {
    update,
    [Symbol.dispose]() {
      cancelUpdate?.();
    },
  };
}

function showOpen(health: Health | undefined, namespaces: readonly string[]): void {
  if (namespaces.length === 0) {
    health?.clear('ORIGIN_BREAKER_OPEN');
    return;
  }
  health?.set({
    code: 'ORIGIN_BREAKER_OPEN',
    severity: 'degraded',
    text: `Not answering: ${namespaces.join(', ')}. Cached images are served; others fail.`,
    remedy: 'Check the network, DNS, proxy and certificate of the origin; it is asked again by itself.',
  });
}

function showLimited(health: Health | undefined, namespaces: readonly string[]): void {
  if (namespaces.length === 0) {
    health?.clear('ORIGIN_RATE_LIMITED');
    return;
  }
  health?.set({
    code: 'ORIGIN_RATE_LIMITED',
    severity: 'notice',
    text: `Said 429, too many requests: ${namespaces.join(', ')}. Cached images are served.`,
    remedy: 'Configure credentials with a higher limit, or wait; it is asked again by itself.',
  });
}
