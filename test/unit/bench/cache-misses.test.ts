import { describe, expect, it } from 'vitest';
import { measureCacheMissNs, randomCycle } from '../../../bench/lab/cache-misses.ts';

describe('cache misses', () => {
  it('are counted on a walk that comes by everywhere', () => {
    const next = randomCycle(1000);
    const seen = new Set<number>();
    for (let at = 0; !seen.has(at); at = next[at]!) seen.add(at);
    expect(seen.size).toBe(1000);
  });

  it('take some time', () => {
    const ns = measureCacheMissNs();
    expect(ns).toBeGreaterThan(0.1);
    expect(ns).toBeLessThan(100_000);
  });
});
