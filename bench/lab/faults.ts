/**
 * What goes wrong during a run of the fleet bench. A fault changes processes or links before the clock starts, or once a part
 * of all bytes has arrived. Nodes that a fault breaks on purpose are left out of the figures; all others must finish.
 * A fault that needs a node to lie gives it another program through `nodeChanges`.
 */
import type { OriginRule } from './chaos-origin.ts';
import type { Fleet, FleetOptions } from './fleet.ts';

export interface Fault {
  readonly name: string;
  /** Nodes whose own pull does not count. */
  readonly excludedNodes: readonly number[];
  /** Pull the image here, untimed, before anything else. */
  readonly seededNodes: readonly number[];
  readonly nodeChanges?: NonNullable<FleetOptions['nodeChanges']>;
  readonly originRules?: readonly OriginRule[];
  /** Runs after the image is pushed and the seeds hold it, before the clock starts. */
  prepare?(fleet: Fleet): Promise<void>;
  /** Runs once this part of all bytes (0 to 1) has arrived. */
  readonly trigger?: { readonly atFraction: number; run(fleet: Fleet): Promise<void> };
}

export const noFault: Fault = { name: 'none', excludedNodes: [], seededNodes: [] };

/** How long an outage lasts: longer than any timeout that should bridge it silently. */
const outageMs = 10_000;

const daemonOf = (fleet: Fleet, index: number) => {
  const daemon = fleet.nodes[index]?.daemon;
  if (daemon === undefined) throw new Error('this fault needs nodes with a daemon');
  return daemon;
};

const originFault = (
  fault: OriginRule['fault'],
  when: Pick<OriginRule, 'after' | 'times'>,
): Pick<Fault, 'originRules'> => ({
  originRules: [{ kinds: ['blob-get'], fault, ...when }],
});

type FaultMaker = (
  victim: number,
  percent: number | undefined,
) => Omit<Fault, 'name' | 'excludedNodes' | 'seededNodes'> & Partial<Pick<Fault, 'excludedNodes' | 'seededNodes'>>;

const makers: Readonly<Record<string, FaultMaker>> = {
  'kill-node': (victim, percent = 50) => ({
    excludedNodes: [victim],
    trigger: { atFraction: percent / 100, run: async (fleet) => daemonOf(fleet, victim).kill('SIGKILL') },
  }),
  'freeze-node': (victim, percent = 50) => ({
    excludedNodes: [victim],
    trigger: { atFraction: percent / 100, run: async (fleet) => daemonOf(fleet, victim).kill('SIGSTOP') },
  }),
  'slow-node': (victim, percent = 10) => ({
    excludedNodes: [victim],
    async prepare(fleet) {
      const rate = fleet.options.rateBytesPerSecond;
      const host = fleet.nodes[victim]?.host;
      if (rate === undefined || host === undefined) throw new Error('slow-node needs a capped fleet');
      await fleet.network.setRate(host, (rate * percent) / 100);
    },
  }),
  'unplug-node': (victim, percent = 50) => ({
    excludedNodes: [victim],
    trigger: {
      atFraction: percent / 100,
      async run(fleet) {
        const host = fleet.nodes[victim]?.host;
        if (host !== undefined) await fleet.network.setLink(host, 'down');
      },
    },
  }),
  'origin-kill': (_, percent = 50) => ({
    trigger: { atFraction: percent / 100, run: (fleet) => fleet.origin.stop() },
  }),
  'origin-outage': (_, percent = 20) => ({
    trigger: {
      atFraction: percent / 100,
      async run(fleet) {
        await fleet.origin.stop();
        await new Promise((resolve) => setTimeout(resolve, outageMs));
        await fleet.startOrigin();
      },
    },
  }),
  'origin-slow': (_, percent = 50) => ({
    async prepare(fleet) {
      const rate = fleet.options.rateBytesPerSecond;
      if (rate === undefined) throw new Error('origin-slow needs a capped fleet');
      await fleet.network.setRate(fleet.origin.host, (rate * percent) / 100);
    },
  }),
  'origin-429': () =>
    originFault({ kind: 'status', status: 429, headers: { 'retry-after': '2' } }, { after: 2, times: 4 }),
  'origin-503': () => originFault({ kind: 'status', status: 503 }, { after: 2, times: 4 }),
  'origin-no-range': () => originFault({ kind: 'ignore-range' }, {}),
  'origin-cuts': () => originFault({ kind: 'cut', afterBytes: 20 * 1024 * 1024 }, {}),
  'origin-wrong-once': () => originFault({ kind: 'corrupt', atByte: 100_000 }, { times: 1 }),
  'origin-down': () => ({
    excludedNodes: [0],
    seededNodes: [0],
    prepare: (fleet) => fleet.origin.stop(),
  }),
};

export const faultNames: readonly string[] = Object.keys(makers);

/** Makes a fault from `name` or `name:percent`; the victim is the last node. */
export function createFault(text: string, nodes: number): Fault {
  const [name = '', percent] = text.split(':');
  const maker = makers[name];
  if (maker === undefined) throw new Error(`no fault "${name}"; there are: ${faultNames.join(', ')}`);
  return {
    name: text,
    excludedNodes: [],
    seededNodes: [],
    ...maker(nodes - 1, percent === undefined ? undefined : Number(percent)),
  };
}
