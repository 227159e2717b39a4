import { setTimeout as pause } from 'node:timers/promises';
import type { Child } from '../../test/support/child.ts';

const stepMs = 500;
/** An idle daemon takes a hundredth of a core; one that still starts, rehearses or settles takes most of one. */
const restingCores = 0.06;
const limitMs = 120_000;

/** Waits until processes that were just started have nothing left to do, so that what is timed next is not their start. */
export async function waitForRest(children: readonly Child[]): Promise<void> {
  const read = async () =>
    (await Promise.all(children.map((child) => child.readUsage()))).map((usage) => usage.cpuSeconds);
  const deadlineMs = performance.now() + limitMs;
  let before = await read();
  for (let quietSteps = 0; quietSteps < 2 && performance.now() < deadlineMs; ) {
    await pause(stepMs);
    const now = await read();
    const isQuiet = now.every(
      (cpuSeconds, index) => cpuSeconds - (before[index] ?? 0) <= (restingCores * stepMs) / 1000,
    );
    quietSteps = isQuiet ? quietSteps + 1 : 0;
    before = now;
  }
}
