import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { PrometheusMetrics } from './prometheus-metrics.ts';

/**
 * Measures the process itself: memory, CPU, event-loop delay, open files. The names are Prometheus' usual ones, so that existing
 * dashboards work. Values are of the whole process, whoever asks.
 */
export function startProcessMetrics(metrics: PrometheusMetrics): Disposable {
  const resident = metrics.gauge({ name: 'process_resident_memory_bytes', help: 'Resident memory of the process.' });
  const heap = metrics.gauge({ name: 'nodejs_heap_size_used_bytes', help: 'JavaScript heap in use.' });
  const external = metrics.gauge({
    name: 'nodejs_external_memory_bytes',
    help: 'Memory outside the heap held by buffers.',
  });
  const cpu = metrics.counter({ name: 'process_cpu_seconds_total', help: 'CPU time, user and system.' });
  const startedAt = metrics.gauge({ name: 'process_start_time_seconds', help: 'Start of the process, Unix time.' });
  const files = metrics.gauge({ name: 'process_open_fds', help: 'Open file descriptors.' });
  const delay = metrics.gauge<'quantile'>({
    name: 'nodejs_eventloop_lag_seconds',
    help: 'How late timers ran since the last scrape, of ten a second.',
    labels: ['quantile'],
  });

  // Each wakes an idle node: with 50 a second these were three of four of its wake-ups.
  const loop = monitorEventLoopDelay({ resolution: sampleMs });
  loop.enable();
  startedAt.set((Date.now() - process.uptime() * 1000) / 1000);
  let countedSeconds = 0;
  metrics.onCollect(() => {
    const memory = process.memoryUsage();
    resident.set(memory.rss);
    heap.set(memory.heapUsed);
    external.set(memory.external);
    const usage = process.cpuUsage();
    const seconds = (usage.user + usage.system) / 1e6;
    cpu.add(Math.max(0, seconds - countedSeconds));
    countedSeconds = Math.max(seconds, countedSeconds);
    files.set(countOpenFiles());
    delay.set(lateSeconds(loop.percentile(50)), { quantile: '0.5' });
    delay.set(lateSeconds(loop.percentile(99)), { quantile: '0.99' });
    delay.set(lateSeconds(loop.max), { quantile: '1' });
    loop.reset();
  });
  return { [Symbol.dispose]: () => loop.disable() };
}

const sampleMs = 100;

/** What a timer of `sampleMs` came late, of the nanoseconds between it and the one before, which are what Node records. */
export function lateSeconds(gapNs: number): number {
  return Number.isFinite(gapNs) ? Math.max(0, gapNs / 1e9 - sampleMs / 1000) : 0;
}

function countOpenFiles(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    // Only Linux has it; elsewhere the gauge stays at zero.
    return 0;
  }
}
