/**
 * What goes wrong during a run of the fleet bench. A fault changes processes or links before the clock starts, or once a part
 * of all bytes has arrived. Nodes that a fault breaks on purpose are left out of the figures; all others must finish.
 */
import type { OriginRule } from './chaos-origin.ts';
import {
  countStallReports,
  describeOutage,
  flipStoredByte,
  inspectHealing,
  measureSeed,
  waitForFullSwarm,
} from './fault-steps.ts';
import type { Finding } from './findings.ts';
import type { Fleet, FleetOptions } from './fleet.ts';
import { type Lie, liarProgram } from './lies.ts';
import type { RandomImage } from './random-image.ts';

export interface Fault {
  readonly name: string;
  /** Nodes whose own pull does not count. */
  readonly excludedNodes: readonly number[];
  /** Of the excluded: those that lie, and that all others should name. */
  readonly liars: readonly number[];
  /** Pull the image here, untimed, before anything else. */
  readonly seededNodes: readonly number[];
  readonly nodeChanges?: NonNullable<FleetOptions['nodeChanges']>;
  readonly originRules?: readonly OriginRule[];
  /** The origin's link over a node's; 1 when absent. */
  readonly originRateFactor?: number;
  /** Runs after the image is pushed and the seeds hold it, before the clock starts. */
  prepare?(fleet: Fleet, image: RandomImage): Promise<void>;
  /** Runs once this part of all bytes (0 to 1) has arrived at the nodes that pull; their clients get them later, in order. */
  readonly trigger?: { readonly atFraction: number; run(fleet: Fleet, race: RunningRace): Promise<readonly Finding[]> };
  /** Runs after the last pull: what the nodes have made of the fault. */
  inspect?(fleet: Fleet, image: RandomImage): Promise<readonly Finding[]>;
}

/** What a trigger may want to know of the race it breaks into. */
export interface RunningRace {
  /** Bytes each node fetches. */
  readonly wantedBytes: number;
  /** Nodes that pull and are not to be broken. */
  readonly countedNodes: readonly number[];
  originSentBytes(): Promise<number>;
  /** What has arrived at all nodes that pull together. */
  receivedBytes(): Promise<number>;
  /** Aborted when all counted pulls have ended. */
  readonly over: AbortSignal;
}

export const noFault: Fault = { name: 'none', excludedNodes: [], liars: [], seededNodes: [] };

/** How long an outage lasts: longer than any timeout that should bridge it silently. */
const outageMs = 10_000;
/** Fast enough that the swarm holds all pieces long before half of all bytes have arrived at the nodes. */
const fastOriginFactor = 4;

const daemonOf = (fleet: Fleet, index: number) => {
  const daemon = fleet.nodes[index]?.daemon;
  if (daemon === undefined) throw new Error('this fault needs nodes with a daemon');
  return daemon;
};

type FaultParts = Omit<Fault, 'name' | 'excludedNodes' | 'seededNodes' | 'liars'> &
  Partial<Pick<Fault, 'excludedNodes' | 'seededNodes' | 'liars'>>;

/** Breaks something once this part of all bytes has arrived; there is nothing to be found out about it then. */
const when = (percent: number, run: (fleet: Fleet) => Promise<void> | void): Pick<Fault, 'trigger'> => ({
  trigger: {
    atFraction: percent / 100,
    async run(fleet) {
      await run(fleet);
      return [];
    },
  },
});

const originFault = (fault: OriginRule['fault'], which: Omit<OriginRule, 'fault' | 'kinds'>): FaultParts => ({
  originRules: [{ kinds: ['blob-get'], fault, ...which }],
  async inspect(fleet) {
    const hits = await fleet.origin.countHits();
    return [{ what: 'the origin misbehaved', value: `${hits} times`, isGood: hits > 0 }];
  },
});

/** The last nodes lie, so that those every node knows from its start are honest. */
const liarFault = (lie: Lie, nodes: number, count: number): FaultParts => {
  const liars = Array.from({ length: count }, (_, index) => nodes - 1 - index);
  return {
    excludedNodes: liars,
    liars,
    nodeChanges: (index) => (liars.includes(index) ? liarProgram(lie) : {}),
  };
};

const changeRate = (
  hostOf: (fleet: Fleet) => Parameters<Fleet['network']['setRate']>[0] | undefined,
  percent: number,
) => ({
  async prepare(fleet: Fleet) {
    const rate = fleet.options.rateBytesPerSecond;
    const host = hostOf(fleet);
    if (rate === undefined || host === undefined) throw new Error('a slow link needs a capped fleet');
    await fleet.network.setRate(host, (rate * percent) / 100);
  },
});

const makers: Readonly<Record<string, (nodes: number, percent: number | undefined) => FaultParts>> = {
  'kill-node': (nodes, percent = 50) => ({
    excludedNodes: [nodes - 1],
    ...when(percent, (fleet) => daemonOf(fleet, nodes - 1).kill('SIGKILL')),
  }),
  'freeze-node': (nodes, percent = 50) => ({
    excludedNodes: [nodes - 1],
    ...when(percent, (fleet) => daemonOf(fleet, nodes - 1).kill('SIGSTOP')),
  }),
  'slow-node': (nodes, percent = 10) => ({
    excludedNodes: [nodes - 1],
    ...changeRate((fleet) => fleet.nodes[nodes - 1]?.host, percent),
  }),
  'slow-seed': (_, percent = 2) => ({
    excludedNodes: [0],
    seededNodes: [0],
    trigger: {
      atFraction: 0.1,
      async run(fleet) {
        await changeRate(({ nodes }) => nodes[0]?.host, percent).prepare(fleet);
        return [];
      },
    },
    inspect: async (fleet, image) => [await measureSeed(fleet, 0, image)],
  }),
  'unplug-node': (nodes, percent = 50) => ({
    excludedNodes: [nodes - 1],
    ...when(percent, async (fleet) => {
      const host = fleet.nodes[nodes - 1]?.host;
      if (host !== undefined) await fleet.network.setLink(host, 'down');
    }),
  }),
  'liars-flip': (nodes) => liarFault('flip', nodes, 2),
  'liars-sign': (nodes) => liarFault('sign', nodes, 2),
  'liars-sign-large': (nodes) => liarFault('sign-large', nodes, 2),
  'liar-stall': (nodes) => ({
    ...liarFault('stall', nodes, 1),
    async inspect(fleet) {
      const honest = Array.from({ length: nodes - 1 }, (_, index) => index);
      return [await countStallReports(fleet, honest, nodes - 1)];
    },
  }),
  'liar-endless': (nodes) => liarFault('endless', nodes, 1),
  'origin-kill': (_, percent = 50) => ({
    originRateFactor: fastOriginFactor,
    trigger: {
      atFraction: percent / 100,
      async run(fleet, race) {
        const finding = await waitForFullSwarm(race);
        await fleet.origin.kill();
        return [finding];
      },
    },
  }),
  'origin-outage': (_, percent = 20) => ({
    trigger: {
      atFraction: percent / 100,
      async run(fleet, race) {
        await fleet.origin.kill();
        await new Promise((resolve) => setTimeout(resolve, outageMs));
        const findings = await describeOutage(fleet, race);
        await fleet.startOrigin();
        return findings;
      },
    },
  }),
  'origin-down': () => ({
    excludedNodes: [0],
    seededNodes: [0],
    prepare: (fleet) => fleet.origin.kill(),
    inspect: async (fleet, image) => [await measureSeed(fleet, 0, image)],
  }),
  'origin-slow': (_, percent = 50) => changeRate((fleet) => fleet.origin.host, percent),
  'origin-429': () =>
    originFault({ kind: 'status', status: 429, headers: { 'retry-after': '2' } }, { after: 2, times: 4 }),
  'origin-503': () => originFault({ kind: 'status', status: 503 }, { after: 2, times: 4 }),
  'origin-no-range': () => originFault({ kind: 'ignore-range' }, {}),
  'origin-cuts': () => originFault({ kind: 'cut-every', bytes: 20 * 1024 * 1024 }, {}),
  // Large answers only: the byte must be in the one answer that is hit.
  'origin-wrong-once': () => originFault({ kind: 'corrupt', atByte: 100_000 }, { times: 1, minBytes: 200_000 }),
  'bit-rot': () => ({
    excludedNodes: [0],
    seededNodes: [0],
    prepare: (fleet, image) => flipStoredByte(fleet, 0, image),
    inspect: async (fleet, image) => [await measureSeed(fleet, 0, image), ...(await inspectHealing(fleet, 0, image))],
  }),
};

export const faultNames: readonly string[] = Object.keys(makers);

/** Makes a fault from `name` or `name:percent`; the victims are the last nodes. */
export function createFault(text: string, nodes: number): Fault {
  const [name = '', percent] = text.split(':');
  const maker = Object.hasOwn(makers, name) ? makers[name] : undefined;
  if (maker === undefined) throw new Error(`no fault "${name}"; there are: ${faultNames.join(', ')}`);
  const parts = maker(nodes, percent === undefined ? undefined : Number(percent));
  const fault = { name: text, excludedNodes: [], liars: [], seededNodes: [], ...parts };
  // One node has nobody to get anything from, and a fault must leave two to look at.
  if (nodes - fault.excludedNodes.length < 2) throw new Error(`the fault ${name} needs more nodes`);
  return fault;
}

/** The same fleet with nothing going wrong: what a fault's time is held against. */
export function withoutFault({ originRateFactor }: Fault): Fault {
  return { ...noFault, ...(originRateFactor === undefined ? {} : { originRateFactor }) };
}
