/** One case of the fleet bench from nothing to its figures: image, fleet, seeds, fault, race, and what the nodes say afterwards. */
import { copyFileSync, mkdirSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';
import type { ExplainAnswer } from '../../src/admin/api.ts';
import { formatExplanation } from '../../src/cli/output/explain.ts';
import { shortPeer } from '../../src/cli/output/units.ts';
import type { PeerId } from '../../src/content/peer-id.ts';
import { getAdmin } from './admin.ts';
import { type BanReport, readBans, readPeers } from './bans.ts';
import { measureCacheMissNs } from './cache-misses.ts';
import { type CpuPhases, measureCpuPhases } from './cpu-phases.ts';
import { type Fault, withoutFault } from './faults.ts';
import { type Fleet, type FleetMode, type FleetNode, startFleet } from './fleet.ts';
import { type RaceResult, race, type StartPattern, seed } from './race.ts';
import { createRandomImage, createRandomLayers, parseBytes, parseLayers } from './random-image.ts';
import { computeFigures, type FleetFigures, measureHashCpuSecondsPerGiB } from './report.ts';

export interface CaseOptions {
  readonly mode: FleetMode;
  readonly nodes: number;
  /** As on the command line: `1x128MiB`. */
  readonly layers: string;
  /** As on the command line: `20MiB`, or `none`. */
  readonly rate: string;
  readonly start: StartPattern;
  readonly fault: Fault;
  readonly client: 'http' | 'docker';
  /** Layers of an image that every node pulls before the clock starts. */
  readonly warm?: string;
  readonly directory: string;
  readonly deadlineSeconds?: number;
  readonly profileNode?: number;
  /** Measure afterwards what each phase costs. */
  readonly isPhased?: boolean;
  /** Where the logs of the daemons are kept. */
  readonly logDirectory?: string;
  readonly say: (text: string) => void;
}

export interface CaseOutcome {
  readonly figures: FleetFigures;
  readonly result: RaceResult;
  /** Why the slowest node that counts took as long as it did, in its own words. */
  readonly explanation?: string;
}

/** Of an image's layers, what a rolling update changes. */
const changedShare = 0.2;
const warmDeadlineMs = 600_000;
/** Of the image that is measured by phase: at the origin, at two nodes, at a client. */
const phasesCopies = 4;

/** Runs the same case with nothing going wrong. */
export async function runCleanCase(options: CaseOptions): Promise<CaseOutcome> {
  return await runCase({ ...options, fault: withoutFault(options.fault) });
}

/** Runs one case; `clean` is the outcome of the same case without the fault, to hold the time against. */
export async function runCase(options: CaseOptions, clean?: CaseOutcome): Promise<CaseOutcome> {
  const { mode, nodes, fault, client, say } = options;
  const rate = options.rate === 'none' ? undefined : parseBytes(options.rate);
  const layers = createRandomLayers(parseLayers(options.layers));
  const oldImage = createRandomImage('library/bench', 'v1', layers);
  const isRolling = options.start === 'rolling';
  const kept = isRolling ? layers.slice(0, Math.floor(layers.length * (1 - changedShare))) : [];
  const changed = layers.slice(kept.length).map((layer) => ({ count: 1, sizeBytes: layer.bytes.length }));
  const image = isRolling
    ? createRandomImage('library/bench', 'v2', [...kept, ...createRandomLayers(changed)])
    : oldImage;
  const bytes = image.sizeBytes - kept.reduce((sum, layer) => sum + layer.bytes.length, 0);
  // Each node holds the image once in its store and once in its client, all of it in memory.
  const imageBytes = isRolling ? oldImage.sizeBytes + bytes : bytes;
  const neededBytes = nodes * 2 * imageBytes + (options.isPhased === true ? phasesCopies * bytes : 0);
  if (neededBytes > freemem() * 0.8 + 2 * 1024 ** 3) throw new Error(`needs about ${neededBytes} bytes of memory`);
  const deadlineMs =
    options.deadlineSeconds === undefined
      ? 60_000 + (rate === undefined ? 60_000 : (12_000 * bytes) / rate)
      : options.deadlineSeconds * 1000;
  const hashCpuSecondsPerGiB = measureHashCpuSecondsPerGiB();
  const missesBeforeNs = measureCacheMissNs();

  say(`starting ${nodes} nodes (${mode})`);
  await using fleet = await startFleet({
    mode,
    nodes,
    rateBytesPerSecond: rate,
    ...(rate === undefined ? {} : { originRateBytesPerSecond: rate * (fault.originRateFactor ?? 1) }),
    directory: options.directory,
    client,
    ...(options.profileNode === undefined ? {} : { profileNode: options.profileNode }),
    ...(fault.nodeChanges === undefined ? {} : { nodeChanges: fault.nodeChanges }),
    ...(fault.originRules === undefined ? {} : { originRules: fault.originRules }),
  });
  // Asked while all of them still answer.
  const peers = mode === 'shoal' ? await readPeers(fleet.nodes) : new Map<string, string>();
  await fleet.pushImage(oldImage);
  if (options.warm !== undefined) {
    const warming = createRandomImage('library/warm', 'v1', createRandomLayers(parseLayers(options.warm)));
    await fleet.pushImage(warming);
    await seed(fleet.nodes, warming, warmDeadlineMs);
  }
  if (isRolling) {
    await seed(fleet.nodes, oldImage, deadlineMs * nodes);
    await fleet.pushImage(image);
  }
  const nodesAt = (indexes: readonly number[]) => fleet.nodes.filter((node) => indexes.includes(node.index));
  await seed(nodesAt(fault.seededNodes), image, deadlineMs);
  await fault.prepare?.(fleet, image);
  say(`the clock runs: ${options.layers} at ${options.rate}/s, ${options.start}, fault ${fault.name}`);
  const haveDigests = kept.map((layer) => layer.digest);
  const isProfiled = options.profileNode !== undefined;
  const result = await race(fleet, { image, start: options.start, fault, haveDigests, deadlineMs, isProfiled });
  const cacheMissNs = (missesBeforeNs + measureCacheMissNs()) / 2;

  if (options.logDirectory !== undefined) keepLogs(fleet, options.logDirectory, fault.name);
  const findings = [...result.findings, ...((await fault.inspect?.(fleet, image)) ?? [])];
  const told = mode === 'shoal' ? await ask(fleet, peers, options, result) : { bans: { liars: [], wrongBans: [] } };
  const cpuPhases = options.isPhased === true ? await measurePhases(fleet, options.layers, deadlineMs) : undefined;
  const figures = computeFigures({
    caseName: nameCase(options),
    mode,
    bytes,
    rateBytesPerSecond: rate,
    hashCpuSecondsPerGiB,
    cacheMissNs,
    result,
    ...(cpuPhases === undefined ? {} : { cpuPhases }),
    ...(fault.name === 'none' ? {} : { fault: { name: fault.name, clean: clean?.result, findings, bans: told.bans } }),
  });
  return { figures, result, ...told };
}

async function measurePhases(fleet: Fleet, layers: string, deadlineMs: number): Promise<CpuPhases> {
  const image = createRandomImage('library/phases', 'v1', createRandomLayers(parseLayers(layers)));
  await fleet.pushImage(image);
  return await measureCpuPhases(fleet, image, deadlineMs);
}

function keepLogs(fleet: Fleet, directory: string, faultName: string): void {
  mkdirSync(directory, { recursive: true });
  for (const { host, daemon } of fleet.nodes)
    if (daemon !== undefined) copyFileSync(daemon.logPath, join(directory, `${faultName}-${host.label}.log`));
}

/** Asks the daemons about what has happened to them. */
async function ask(
  fleet: Fleet,
  peers: ReadonlyMap<string, string>,
  { fault, start }: CaseOptions,
  result: RaceResult,
): Promise<{ readonly bans: BanReport; readonly explanation: string }> {
  // Nodes that are broken on purpose may not answer, and nobody asks a liar; seeds do.
  const honest = fleet.nodes.filter(
    ({ index }) => !fault.excludedNodes.includes(index) || fault.seededNodes.includes(index),
  );
  const liars = new Set(fault.liars.map((index) => (fleet.nodes[index] as FleetNode).host.label));
  const bans = await readBans(honest, liars, peers);
  const slowest = result.nodes.reduce((slow, node) => (node.outcome.seconds > slow.outcome.seconds ? node : slow));
  const node = honest.find(({ host }) => host.label === slowest.label) as FleetNode;
  const reference = encodeURIComponent(`docker.io/library/bench:${start === 'rolling' ? 'v2' : 'v1'}`);
  const answer = await getAdmin<ExplainAnswer>(node, `/api/v1/explain?reference=${reference}`);
  let text = formatExplanation(answer, Date.now());
  for (const [peer, label] of peers) text = text.replaceAll(shortPeer(peer as PeerId), label);
  return { bans, explanation: `${slowest.label}: ${text}` };
}

function nameCase({ nodes, layers, rate, start, fault, client, warm }: CaseOptions): string {
  const more = `${client === 'docker' ? ', docker' : ''}${warm === undefined ? '' : ', warm daemons'}`;
  return `${nodes} nodes, ${layers} @ ${rate}/s, ${start}, fault ${fault.name}${more}`;
}
