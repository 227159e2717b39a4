import { describe, expect, it } from 'vitest';
import { describeBans, faultCases, findFaults, layersOf } from '../../../bench/lab/fault-cases.ts';
import { createFault, faultNames, withoutFault } from '../../../bench/lab/faults.ts';
import type { FleetFigures } from '../../../bench/lab/report.ts';

const fine: FleetFigures = {
  case: '8 nodes',
  nodes: 6,
  bytes: 1000,
  boundSeconds: 1,
  seconds: { p50: 1, p99: 1.2, max: 1.2 },
  ratio: 1.2,
  originEgressRatio: 1.04,
  ttfbSecondsMax: 0.1,
  cpuSecondsPerGiB: 3,
  cpuSplit: null,
  busyShare: 0.5,
  stolenShare: 0,
  hashCpuSecondsPerGiB: 0.6,
  cacheMissNs: 70,
  rssMiBMax: 100,
  wrongBytes: 0,
  unfinished: 0,
  restarts: 0,
  mode: 'shoal',
  machine: 'a machine',
  commit: 'abc',
};
const liar = { label: 'n7', bannedBy: 6, loggedBy: 6, honestNodes: 6, reasons: ['wrong bytes'] };
const fault = { name: 'x', cleanSecondsMax: 1, cleanRatio: 1.2, findings: [], liars: [liar], wrongBans: [] };

describe('a fault', () => {
  it.each(faultNames)('%s leaves most of eight nodes to look at', (name) => {
    const made = createFault(name, 8);
    expect(made.name).toBe(name);
    expect(made.excludedNodes.length).toBeLessThanOrEqual(2);
    for (const index of made.liars) {
      expect(made.excludedNodes).toContain(index);
      expect(made.nodeChanges?.(index)).toHaveProperty('script');
    }
    expect(made.nodeChanges?.(0) ?? {}).toEqual({});
  });

  it('takes a percentage', () => {
    expect(createFault('kill-node:20', 8).trigger?.atFraction).toBe(0.2);
    expect(createFault('kill-node', 8).trigger?.atFraction).toBe(0.5);
  });

  it('keeps the links of the fleet it is compared with', () => {
    expect(withoutFault(createFault('origin-kill', 8))).toMatchObject({ name: 'none', originRateFactor: 4 });
  });

  it.each(['nonsense', 'toString'])('named %j does not exist', (name) => {
    expect(() => createFault(name, 8)).toThrow('no fault');
  });

  it('needs enough nodes', () => {
    expect(() => createFault('liars-flip', 3)).toThrow('more nodes');
  });
});

describe('the verdict on a fault case', () => {
  it('is made for faults that exist', () => {
    for (const each of faultCases) if (each.fault !== 'none') expect(faultNames).toContain(each.fault);
    expect(new Set(faultCases.map(({ name }) => name)).size).toBe(faultCases.length);
  });

  it('passes what is within its limits', () => {
    expect(findFaults({ ...fine, fault }, { cleanRatio: 1.5, boundRatio: 1.35, egressRatio: 1.1 })).toEqual([]);
    expect(describeBans({ ...fine, fault })).toBe('n7 6/6');
  });

  it.each<[string, Partial<FleetFigures>, Parameters<typeof findFaults>[1]]>([
    ['8 wrong bytes', { wrongBytes: 8 }, {}],
    ['1 of 6 nodes not finished', { unfinished: 1 }, {}],
    ['max / bound 1.2 > 1.1', {}, { boundRatio: 1.1 }],
    ['egress 1.04 > 1.01', {}, { egressRatio: 1.01 }],
    ['max / clean not measured', {}, { cleanRatio: 1.5 }],
    ['max / clean 1.2 > 1.15', { fault }, { cleanRatio: 1.15 }],
    ['liar n7 not banned', { fault: { ...fault, liars: [{ ...liar, bannedBy: 0, loggedBy: 0 }] } }, {}],
    ['liar n7 not named in the log', { fault: { ...fault, liars: [{ ...liar, loggedBy: 5 }] } }, {}],
    ['seen: no', { fault: { ...fault, findings: [{ what: '  seen', value: 'no', isGood: false }] } }, {}],
    [
      'n0 banned honest n1 (wrong bytes)',
      { fault: { ...fault, wrongBans: [{ by: 'n0', banned: 'n1', reason: 'wrong bytes' }] } },
      {},
    ],
  ])('says "%s"', (text, changes, limits) => {
    expect(findFaults({ ...fine, ...changes }, limits)).toEqual([text]);
  });

  it('gives a rolling update layers to share', () => {
    const rolling = { name: 'r', fault: 'none', start: 'rolling', limits: {} } as const;
    expect(layersOf(rolling, '1x64MiB')).toBe('10x6710886B');
    expect(layersOf(rolling, '12x1MiB')).toBe('12x1MiB');
    expect(layersOf({ ...rolling, start: 'together' }, '1x64MiB')).toBe('1x64MiB');
  });
});
