/** The fault cases that a release must pass, with the limits of each, and the verdict on one run. */
import type { StartPattern } from './race.ts';
import { parseLayers } from './random-image.ts';
import type { FleetFigures } from './report.ts';

export interface FaultCase {
  readonly name: string;
  /** As on the command line of the fleet bench. */
  readonly fault: string;
  readonly start: StartPattern;
  readonly limits: FaultLimits;
}

/** What a case asks for beside the right bytes at every node that counts. */
interface FaultLimits {
  /** Slowest node over the slowest of the same nodes without the fault. */
  readonly cleanRatio?: number;
  /** Slowest node over bytes / rate. */
  readonly boundRatio?: number;
  /** Bytes on the origin's link over the bytes that are new. */
  readonly egressRatio?: number;
}

const underFault = (fault: string, limits: FaultLimits = {}): FaultCase => ({
  name: fault,
  fault,
  start: 'together',
  limits,
});

/** Nobody waits for a node that fails. */
const victim: FaultLimits = { cleanRatio: 1.15 };
/** A lie costs the bytes of its pieces and the time to find out. */
const lies: FaultLimits = { cleanRatio: 1.5 };
/** Each new byte once; the rest is what packets, heads and manifests add on a link. */
const once: FaultLimits = { egressRatio: 1.1 };

export const faultCases: readonly FaultCase[] = [
  underFault('origin-kill'),
  underFault('origin-outage'),
  underFault('origin-down', { boundRatio: 1.35 }),
  underFault('kill-node', victim),
  underFault('freeze-node', victim),
  underFault('slow-node', victim),
  underFault('slow-seed', { boundRatio: 2.5, egressRatio: 1.1 }),
  underFault('liars-flip', lies),
  underFault('liars-sign', lies),
  underFault('liars-sign-large', lies),
  underFault('liar-stall', lies),
  underFault('liar-endless', lies),
  underFault('origin-429'),
  underFault('origin-503'),
  underFault('origin-slow'),
  underFault('origin-no-range'),
  underFault('origin-cuts'),
  underFault('origin-wrong-once'),
  { name: 'staggered', fault: 'none', start: 'staggered', limits: once },
  { name: 'rolling', fault: 'none', start: 'rolling', limits: once },
  underFault('bit-rot'),
];

/** Enough layers that a rolling update of a fifth of them changes whole ones. */
const rollingLayers = 10;

/** The layers of a case: a rolling update needs many, so it cuts the same bytes into more of them. */
export function layersOf({ start }: FaultCase, layers: string): string {
  if (start !== 'rolling') return layers;
  const specs = parseLayers(layers);
  if (specs.reduce((sum, { count }) => sum + count, 0) >= rollingLayers) return layers;
  const bytes = specs.reduce((sum, { count, sizeBytes }) => sum + count * sizeBytes, 0);
  return `${rollingLayers}x${Math.floor(bytes / rollingLayers)}B`;
}

/** Returns what is wrong with a run; nothing = it passes. */
export function findFaults(figures: FleetFigures, limits: FaultLimits): string[] {
  const wrong: string[] = [];
  const { wrongBytes, unfinished, nodes, fault } = figures;
  if (wrongBytes > 0) wrong.push(`${wrongBytes} wrong bytes`);
  if (unfinished > 0) wrong.push(`${unfinished} of ${nodes} nodes not finished`);
  const isOver = (what: string, value: number | null | undefined, limit: number | undefined) => {
    if (limit === undefined) return;
    if (typeof value !== 'number') wrong.push(`${what} not measured`);
    else if (value > limit) wrong.push(`${what} ${value} > ${limit}`);
  };
  isOver('max / clean', fault?.cleanRatio, limits.cleanRatio);
  isOver('max / bound', figures.ratio, limits.boundRatio);
  isOver('egress', figures.originEgressRatio, limits.egressRatio);
  for (const { what, value, isGood } of fault?.findings ?? []) if (!isGood) wrong.push(`${what.trim()}: ${value}`);
  for (const liar of fault?.liars ?? []) {
    if (liar.bannedBy === 0) wrong.push(`liar ${liar.label} not banned`);
    else if (liar.loggedBy < liar.bannedBy) wrong.push(`liar ${liar.label} not named in the log`);
  }
  for (const { by, banned, reason } of fault?.wrongBans ?? []) wrong.push(`${by} banned honest ${banned} (${reason})`);
  return wrong;
}

/** The bans of a run in short: who was banned by how many. */
export function describeBans(figures: FleetFigures): string {
  const liars = figures.fault?.liars ?? [];
  return liars.map(({ label, bannedBy, honestNodes }) => `${label} ${bannedBy}/${honestNodes}`).join(' ');
}
