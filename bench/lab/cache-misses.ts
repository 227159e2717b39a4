/** How fast the machine's memory is right now: neighbours on the same chip take away cache and bandwidth, and no counter says so. */

// Far more than the cache of one core, less than what cores share.
const words = 2 * 1024 * 1024;
const steps = 2_000_000;

/** Walks memory in an order that nothing can foresee; gives nanoseconds per step. */
export function measureCacheMissNs(): number {
  const next = randomCycle(words);
  let at = 0;
  const startedMs = performance.now();
  for (let step = 0; step < steps; step += 1) at = next[at] ?? 0;
  const ns = ((performance.now() - startedMs) * 1e6) / steps;
  // Read, so that the walk is not left out.
  return at < 0 ? Number.NaN : ns;
}

/** A permutation that is one cycle (Sattolo, 1986): a walk comes by everywhere before it repeats. */
export function randomCycle(length: number): Uint32Array {
  const next = Uint32Array.from({ length }, (_, index) => index);
  for (let last = length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * last);
    const swapped = next[last] ?? 0;
    next[last] = next[other] ?? 0;
    next[other] = swapped;
  }
  return next;
}
