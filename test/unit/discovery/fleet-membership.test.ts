import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type MembershipOptions, startMembership } from '../../../src/discovery/membership/fleet-membership.ts';
import type { Resolver } from '../../../src/discovery/membership/resolver.ts';
import type { Membership } from '../../../src/discovery/membership.ts';
import type { Health, HealthCondition } from '../../../src/health/health.ts';
import { seededRandom } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { PeerError } from '../../../src/peer/errors.ts';
import {
  createMemoryNetworkHub,
  type MemoryNetworkHub,
  type MemoryPeerNetwork,
} from '../../../src/peer/memory/memory-network.ts';
import { noMetrics } from '../../../src/telemetry/metrics.ts';
import { testPeer } from '../../support/discovery.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const options: MembershipOptions = {
  bootstrap: [],
  dialTimeoutMs: 5000,
  retryMinMs: 200,
  retryMaxMs: 20_000,
  resolveIntervalMs: 30_000,
  maxConnections: 250,
  maxParallelDials: 16,
  maxMembers: 2000,
  forgetAfterMs: 600_000,
  settleTimeoutMs: 10_000,
  exchangeIntervalMs: 30_000,
  exchangeTimeoutMs: 10_000,
};

interface Node {
  readonly network: MemoryPeerNetwork;
  readonly membership: Membership & AsyncDisposable;
  readonly conditions: Map<string, Omit<HealthCondition, 'sinceMs'>>;
  readonly dialled: string[];
}

let clock: FakeClock;
let hub: MemoryNetworkHub;
let names: Map<string, string[]>;
const nodes: Node[] = [];
const { signal } = new AbortController();

const resolver: Resolver = {
  addresses: async (name) => names.get(name) ?? [],
  services: async () => [],
};

beforeEach(() => {
  clock = new FakeClock();
  hub = createMemoryNetworkHub();
  names = new Map();
});

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.membership[Symbol.asyncDispose]();
  expect(clock.pending).toBe(0);
});

async function start(overrides: Partial<MembershipOptions> = {}, fleet = '', logger = silentLogger): Promise<Node> {
  const network = hub.join(testPeer(nodes.length), { fleet });
  const conditions: Node['conditions'] = new Map();
  const health: Health = {
    set: (condition) => void conditions.set(condition.code, condition),
    clear: (code) => void conditions.delete(code),
    conditions: () => [],
    isReady: true,
  };
  const dialled: string[] = [];
  const dial = network.dial.bind(network);
  network.dial = (address, dialSignal) => {
    dialled.push(address);
    return dial(address, dialSignal);
  };
  const random = seededRandom(nodes.length);
  const membership = await startMembership(
    { network, resolver, clock, random, logger, health, metrics: noMetrics },
    { ...options, ...overrides },
  );
  const node = { network, membership, conditions, dialled };
  nodes.push(node);
  return node;
}

describe('membership', () => {
  it('settles at once when there is nobody to look for', async () => {
    const node = await start();
    await node.membership.settled(signal);
    expect(node.conditions.size).toBe(0);
  });

  it('warns of a node of another fleet once, and not of one that this node has banned', async () => {
    const warnings: unknown[] = [];
    const logger = { ...silentLogger, warn: (fields: object) => void warnings.push(fields) };
    const banned = await start();
    const stranger = await start({}, 'another');
    const bootstrap = ['/dns4/memory-1/tcp/5001', '/dns4/memory-2/tcp/5002'];
    const node = await start({ bootstrap }, '', logger);
    await clock.advanceAsync(2_000);
    node.network.ban(banned.network.self, 3_600_000);
    await clock.advanceAsync(60_000);
    expect(warnings).toMatchObject([{ address: expect.stringContaining('memory-2') }]);
    expect([stranger, banned, node].map(({ network }) => network.peers().length)).toEqual([0, 0, 0]);
  });

  it('meets everyone through one common address', async () => {
    for (let at = 0; at < 6; at += 1) await start({ bootstrap: ['/dns4/memory-1/tcp/5002'] });
    await clock.advanceAsync(2000);
    for (const node of nodes) {
      expect(node.network.peers()).toHaveLength(5);
      expect(node.membership.members().filter((member) => member.isConnected)).toHaveLength(5);
    }
    expect(nodes[3]?.membership.members().find((each) => each.peer === testPeer(0))?.source).toBe('static');
  });

  it('has met the members its bootstrap told of when it is settled', async () => {
    await start();
    for (let at = 0; at < 3; at += 1) await start({ bootstrap: ['/dns4/memory-1/tcp/5002'] });
    await clock.advanceAsync(2000);
    const newcomer = await start({ bootstrap: ['/dns4/memory-2/tcp/5002'] });
    await newcomer.membership.settled(signal);
    expect(newcomer.network.peers()).toHaveLength(4);
  });

  it('dials every address a name has, now and later', async () => {
    await start();
    await start();
    names.set('peers', ['memory-1']);
    const node = await start({ bootstrap: ['peers:5002'] });
    await clock.advanceAsync(1000);
    expect(node.network.peers().map((each) => each.peer)).toEqual([testPeer(0)]);
    names.set('peers', ['memory-1', 'memory-2']);
    await clock.advanceAsync(40_000);
    expect(node.network.peers()).toHaveLength(2);
    expect(node.membership.members().map((each) => each.source)).toEqual(['dns', 'dns']);
  });

  it('says that it is alone, and takes it back when someone comes', async () => {
    names.set('peers', []);
    const node = await start({ bootstrap: ['peers:5002', '/dns4/memory-2/tcp/5002'] });
    await clock.advanceAsync(60_000);
    expect(node.conditions.get('DISCOVERY_ALONE')).toMatchObject({ severity: 'notice' });
    await start();
    await clock.advanceAsync(21_000);
    expect(node.network.peers()).toHaveLength(1);
    expect(node.conditions.size).toBe(0);
  });

  it('keeps trying at a decent rate', async () => {
    const node = await start({ bootstrap: ['/dns4/nobody/tcp/5002'] });
    await clock.advanceAsync(3_600_000);
    expect(node.dialled.length).toBeGreaterThan(3600 / 20);
    expect(node.dialled.length).toBeLessThan(3600 / 5);
  });

  it('soon leaves one in peace that closes behind the handshake, as who has banned this node does, and warns of nothing', async () => {
    const warnings: unknown[] = [];
    const logger = { ...silentLogger, warn: (fields: object) => void warnings.push(fields) };
    const other = await start();
    const node = await start({ bootstrap: ['/dns4/memory-1/tcp/5002'] }, '', logger);
    await clock.advanceAsync(2_000);
    const dialledAtMs: number[] = [];
    node.network.dial = async () => {
      dialledAtMs.push(clock.nowMs());
      throw new PeerError('PEER_UNREACHABLE', 'closed during the hello', { details: { reason: 'closed' } });
    };
    const cutAtMs = clock.nowMs();
    hub.cutLink(other.network.self, node.network.self);
    await clock.advanceAsync(options.retryMaxMs);
    expect(dialledAtMs[0]).toBeLessThanOrEqual(cutAtMs + options.retryMinMs);
    // Backing off from the least wait it would be twice as many.
    expect(dialledAtMs.length).toBeLessThanOrEqual(9);
    expect(warnings).toEqual([]);
  });

  it('comes back after a cut', async () => {
    const a = await start();
    const b = await start({ bootstrap: ['/dns4/memory-1/tcp/5002'] });
    await clock.advanceAsync(1000);
    hub.cutLink(a.network.self, b.network.self);
    await clock.advanceAsync(120_000);
    expect(b.network.peers()).toHaveLength(0);
    expect(b.conditions.has('DISCOVERY_ALONE')).toBe(true);
    hub.healLink(a.network.self, b.network.self);
    await clock.advanceAsync(21_000);
    expect(b.network.peers()).toHaveLength(1);
  });

  it('does not dial its own address among those of a name', async () => {
    names.set('peers', ['memory-1']);
    const node = await start({ bootstrap: ['peers:5002'] });
    await clock.advanceAsync(120_000);
    expect(node.dialled).toEqual([]);
  });

  it('stops dialling members it heard of at its bound of connections', async () => {
    for (let at = 0; at < 8; at += 1) await start({ bootstrap: ['/dns4/memory-1/tcp/5002'], maxConnections: 3 });
    await clock.advanceAsync(60_000);
    for (const node of nodes.slice(1)) {
      expect(node.network.peers().length).toBeGreaterThan(0);
      expect(new Set(node.dialled.filter((address) => address.includes('/p2p/'))).size).toBeLessThan(3);
    }
  });

  it('is not misled by a node of another fleet', async () => {
    await start({}, 'other');
    const node = await start({ bootstrap: ['/dns4/memory-1/tcp/5002'] });
    await node.membership.settled(signal);
    expect(node.network.peers()).toEqual([]);
  });

  it('refuses a bootstrap entry that is none', async () => {
    await expect(start({ bootstrap: ['nonsense'] })).rejects.toMatchObject({ code: 'DISCOVERY_BOOTSTRAP_INVALID' });
  });

  it('lets a waiter for the first round go by its signal', async () => {
    hub.join(testPeer('hangs'));
    const node = await start({ bootstrap: ['/dns4/memory-1/tcp/5002'] });
    hub.pauseLink(node.network.self, testPeer('hangs'));
    await expect(node.membership.settled(AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
    hub.resumeLink(node.network.self, testPeer('hangs'));
  });
});
