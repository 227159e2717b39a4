import { describe, expect, it } from 'vitest';
import { formatGrowth } from '../../../bench/lab/growth.ts';
import type { FleetFigures } from '../../../bench/lab/report.ts';

const run = (nodes: number, ratio: number | null, busyShare: number) =>
  ({ nodes, ratio, busyShare, stolenShare: 0.04, originEgressRatio: 1.01, cpuSecondsPerGiB: 12.5 }) as FleetFigures;

describe('growth with the fleet', () => {
  it('is told against the smallest fleet, with the place where the cores are full', () => {
    const text = formatGrowth([run(4, 1.2, 0.55), run(8, 1.26, 0.91), run(16, 1.8, 0.99)]);
    expect(text.split('\n')).toEqual([
      'nodes  max / bound  growth  cores busy  stolen  origin  CPU-s/GiB',
      '    4          1.2     0 %        55 %     4 %   1.01x       12.5',
      '    8         1.26    +5 %        91 %     4 %   1.01x       12.5',
      '   16          1.8   +50 %        99 %     4 %   1.01x       12.5',
      'CPU stops allowing it at 8 nodes: 91 % of the cores were busy.',
    ]);
  });

  it('says so when the cores are never full, and has no figure for a run that did not finish', () => {
    const text = formatGrowth([run(4, 1.2, 0.3), run(8, null, 0.4), run(16, Number.POSITIVE_INFINITY, 0.2)]);
    expect(text).toContain('CPU allows all of it: never more than 40 % of the cores were busy.');
    expect(text.match(/ -(?= )/g)).toHaveLength(4);
    expect(formatGrowth([run(4, Number.POSITIVE_INFINITY, 0.3), run(8, 1.2, 0.4)])).toMatch(/8 +1.2 +- /);
  });
});
