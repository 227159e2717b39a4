import { describe, expect, it } from 'vitest';
import { judgeBans, readLoggedBans } from '../../../bench/lab/bans.ts';

const ban = (peer: string, evidence = 'sha256:00 piece 1') => ({ peer, reason: 'wrong bytes', evidence });
const peers = new Map([
  ['P0', 'n0'],
  ['P1', 'n1'],
  ['P2', 'n2'],
]);
const told = (label: string, bans: ReturnType<typeof ban>[], loggedBans = bans) => ({ label, bans, loggedBans });

describe('bans of a fleet', () => {
  it('are read out of a log among other lines', () => {
    const log = [
      'shoal 0.1.0 is ready',
      '{"level":"info","msg":"ready"}',
      '{"level":"warn","part":"swarm","peer":"P2","reason":"wrong bytes","evidence":"piece 7","msg":"peer banned"}',
      '{"level":"warn","part":"swarm","peer":"P2","reason":"wrong bytes","msg":"peer banned"}',
      '',
    ].join('\n');
    expect(readLoggedBans(log)).toEqual([{ peer: 'P2', reason: 'wrong bytes', evidence: 'piece 7' }]);
  });

  it('count for a liar by node and by log', () => {
    const nodes = [told('n0', [ban('P2')]), told('n1', [ban('P2')], [])];
    expect(judgeBans(nodes, peers, new Set(['n2']))).toEqual({
      liars: [
        {
          label: 'n2',
          bannedBy: 2,
          loggedBy: 1,
          honestNodes: 2,
          reasons: ['wrong bytes'],
          evidence: 'sha256:00 piece 1',
        },
      ],
      wrongBans: [],
    });
  });

  it('show a liar that nobody has banned', () => {
    const { liars } = judgeBans([told('n0', []), told('n1', [])], peers, new Set(['n2']));
    expect(liars).toEqual([{ label: 'n2', bannedBy: 0, loggedBy: 0, honestNodes: 2, reasons: [] }]);
  });

  it('are wrong when they hit a node that never lied, known or not', () => {
    const nodes = [told('n0', [ban('P1'), ban('P9')])];
    expect(judgeBans(nodes, peers, new Set(['n2'])).wrongBans).toEqual([
      { by: 'n0', banned: 'n1', reason: 'wrong bytes' },
      { by: 'n0', banned: 'P9', reason: 'wrong bytes' },
    ]);
  });
});
