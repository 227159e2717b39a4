import { describe, expect, it } from 'vitest';
import { parseCores, readCores, shareCores } from '../../../bench/lab/cores.ts';

const procStat = `cpu  700 20 130 800 60 5 15 270 1 0
cpu0 350 10 65 400 30 2 8 135 0 0
intr 1 2 3
`;

describe('the cores of the machine', () => {
  it('are read with what the host kept of them', () => {
    expect(parseCores(procStat)).toEqual({ busyTicks: 870, idleTicks: 860, stolenTicks: 270 });
    expect(() => parseCores('cpu0 1 2 3 4 5 6 7 8')).toThrow('/proc/stat');
    const { busyTicks, idleTicks, stolenTicks } = readCores();
    expect(Math.min(busyTicks, idleTicks)).toBeGreaterThan(0);
    expect(stolenTicks).toBeGreaterThanOrEqual(0);
  });

  it('are shared out between two readings: busy of what the machine had, stolen of all', () => {
    const before = { busyTicks: 100, idleTicks: 100, stolenTicks: 7 };
    const after = { busyTicks: 400, idleTicks: 200, stolenTicks: 107 };
    expect(shareCores(before, after)).toEqual({ busyShare: 0.75, stolenShare: 0.2 });
    expect(shareCores(before, before)).toEqual({ busyShare: 0, stolenShare: 0 });
  });
});
