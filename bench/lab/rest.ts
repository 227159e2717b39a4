import { type Clock, systemClock } from '../../src/lib/clock.ts';
import type { Child } from '../../test/support/child.ts';

const stepMs = 500;
/** An idle daemon takes a hundredth of a core; one that still starts or settles takes most of one. */
const restingCores = 0.06;
/** What V8's profiler takes of an idle daemon, at most. */
const profilerCores = 0.08;
/** Far over the start of the largest fleet: what is busy for longer will not rest, and would be part of what is timed next. */
const limitMs = 120_000;

/**
 * Waits until processes that were just started have nothing left to do, so that what is timed next is not their start.
 * Fails with the names of those that are still busy after two minutes.
 */
export async function waitForRest(
  children: readonly Pick<Child, 'name' | 'readUsage'>[],
  isProfiled: boolean,
  clock: Clock = systemClock,
): Promise<void> {
  const allowedCores = restingCores + (isProfiled ? profilerCores : 0);
  const read = async () =>
    (await Promise.all(children.map((child) => child.readUsage()))).map((usage) => usage.cpuSeconds);
  const startedAtMs = clock.nowMs();
  let before = await read();
  for (let quietSteps = 0; quietSteps < 2; ) {
    await new Promise<void>((resolve) => clock.schedule(stepMs, resolve));
    const now = await read();
    const spent = children.map(({ name }, index) => {
      const cpuSeconds = (now[index] ?? 0) - (before[index] ?? 0);
      return { name, cpuSeconds, isQuiet: cpuSeconds <= (allowedCores * stepMs) / 1000 };
    });
    const busy = spent.filter(({ isQuiet }) => !isQuiet);
    const waitedMs = clock.nowMs() - startedAtMs;
    if (busy.length > 0 && waitedMs >= limitMs) {
      const names = busy.map(({ name, cpuSeconds }) => `${name} (${((cpuSeconds * 1000) / stepMs).toFixed(2)} cores)`);
      throw new Error(`not at rest after ${Math.round(waitedMs / 1000)} s: ${names.join(', ')}`);
    }
    quietSteps = busy.length === 0 ? quietSteps + 1 : 0;
    before = now;
  }
}
