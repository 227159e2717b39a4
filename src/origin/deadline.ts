import type { Clock } from '../lib/clock.ts';

/** A signal that follows another and aborts by itself after a time; disposing it stops the time but still follows. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  readonly remainingMs: number;
  /** Stops the time: what was asked for has begun in time. */
  met(): void;
}

/** Starts a deadline; `reason` makes the error it aborts with. */
export function startDeadline(clock: Clock, parent: AbortSignal, spanMs: number, reason: () => Error): Deadline {
  const controller = new AbortController();
  const untilMs = clock.nowMs() + spanMs;
  const follow = () => controller.abort(parent.reason);
  if (parent.aborted) follow();
  else parent.addEventListener('abort', follow, { once: true });
  const cancel = clock.schedule(spanMs, () => controller.abort(reason()));
  return {
    signal: controller.signal,
    get remainingMs() {
      return Math.max(0, untilMs - clock.nowMs());
    },
    met: cancel,
    [Symbol.dispose]() {
      cancel();
      parent.removeEventListener('abort', follow);
    },
  };
}
