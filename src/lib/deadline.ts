import type { Clock } from './clock.ts';

/** A signal that follows another one and also aborts when its time is over; disposing it drops the timer. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** Tells whether it was the time, not the other signal. */
  readonly isOver: boolean;
}

export function startDeadline(clock: Clock, timeoutMs: number, signal: AbortSignal): Deadline {
  const timer = new AbortController();
  const cancel = clock.schedule(timeoutMs, () => {
    timer.abort(new DOMException(`not done within ${timeoutMs} ms`, 'TimeoutError'));
  });
  return {
    signal: AbortSignal.any([signal, timer.signal]),
    get isOver() {
      return timer.signal.aborted && !signal.aborted;
    },
    [Symbol.dispose]: cancel,
  };
}
