import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Clock, delay } from '../lib/clock.ts';

type Collect = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void;

// Clients that waited for the node ask within the first; then there is work to do and no time for a pause. A fleet whose nodes have all started
// together has met within the second, of dozens on few cores within the third.
const pausesMs = [1_000, 4_000, 25_000] as const;

/**
 * Gives back what loading the libraries and meeting the fleet have left behind: about 25 MB of compiled start-up code and half-filled pages that V8
 * would keep, since an idle process never runs into its own limits. It pauses the process for 0.1-0.4 s, so only a node that nobody
 * uses yet does it, three times.
 */
export async function compactMemory(clock: Clock, isIdle: () => boolean, signal: AbortSignal): Promise<void> {
  for (const pauseMs of pausesMs) {
    await delay(clock, pauseMs, signal);
    if (!isIdle()) return;
    compact();
  }
}

function compact(): void {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('globalThis.gc');
  setFlagsFromString('--no-expose-gc');
  if (typeof collect === 'function') {
    (collect as Collect)({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  }
}
