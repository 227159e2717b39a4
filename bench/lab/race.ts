/** The timed part of the fleet bench: every node pulls, the clock runs, digests are verified after it has stopped. */
import { backMemory } from './backed-memory.ts';
import { readCores, shareCores } from './cores.ts';
import { addCpu, type CpuSplit, readCpuSplit, subtractCpu } from './cpu-split.ts';
import type { PullOutcome } from './docker-pull.ts';
import type { Fault, RunningRace } from './faults.ts';
import type { Finding } from './findings.ts';
import type { Fleet, FleetNode } from './fleet.ts';
import type { RandomImage } from './random-image.ts';
import { waitForRest } from './rest.ts';

export type StartPattern = 'together' | 'staggered' | 'rolling';

export interface RaceOptions {
  readonly image: RandomImage;
  readonly start: StartPattern;
  readonly fault: Fault;
  /** What every client holds of an older version of the image. */
  readonly haveDigests: readonly string[];
  readonly deadlineMs: number;
  /** A profiler runs in one of the daemons, which is never quite idle. */
  readonly isProfiled?: boolean;
}

export interface NodeResult {
  readonly label: string;
  readonly outcome: PullOutcome;
  readonly wrongBytes: number;
  readonly isFinished: boolean;
}

export interface RaceResult {
  readonly nodes: readonly NodeResult[];
  readonly originSentBytes: number;
  readonly cpuSeconds: number;
  readonly peakRssBytes: number;
  /** CPU seconds of the measured processes by thread. */
  readonly cpuSplit: CpuSplit;
  /** Of all cores of the machine, while the clock ran; 1 = nothing more could have been done in that time. */
  readonly busyShare: number;
  /** Of the time all cores had while the clock ran, what the host of this machine gave to others. */
  readonly stolenShare: number;
  /** What the fault's trigger has seen. */
  readonly findings: readonly Finding[];
}

/** Between nodes of a staggered start. */
const staggerMs = 1000;
/** Nodes that pull at once in a rolling update. */
const rollingAtOnce = 2;
/** Half a per cent of the shortest race. */
const triggerPollMs = 50;
/** From the order to the start, so that every agent has read it. */
const leadMs = 300;
/** After the last pull, so that commits and hashing that trail it are counted as CPU. */
const settleMs = 1000;

const orderOf = (node: FleetNode, options: Pick<RaceOptions, 'image' | 'haveDigests' | 'deadlineMs'>) => ({
  ...node.pullFrom,
  repository: options.image.repository,
  reference: options.image.tag,
  haveDigests: options.haveDigests,
  deadlineMs: options.deadlineMs,
});

const startIn = (delayMs: number) => ({ atNs: String(process.hrtime.bigint() + BigInt(Math.round(delayMs * 1e6))) });

/** What a daemon and its sockets have more of in a pull than before it. */
const daemonGrowthBytes = 96 * 1024 * 1024;

/** Pulls on some nodes without timing, and fails if that does not work. */
export async function seed(nodes: readonly FleetNode[], image: RandomImage, deadlineMs: number): Promise<void> {
  await Promise.all(
    nodes.map(async (node) => {
      const { agent } = node;
      await agent.send('arm', { order: orderOf(node, { image, haveDigests: [], deadlineMs }), poolBytes: 0 });
      const outcome = await agent.send('pull', startIn(0));
      const { wrongBytes } = await agent.send('verify', {});
      if (outcome.errors.length > 0 || wrongBytes > 0) throw new Error(`seeding failed: ${outcome.errors.join('; ')}`);
    }),
  );
}

/** Runs the clock once. */
export async function race(fleet: Fleet, options: RaceOptions): Promise<RaceResult> {
  const { fault, image } = options;
  const runners = fleet.nodes.filter((node) => !fault.seededNodes.includes(node.index));
  const counted = runners.filter((node) => !fault.excludedNodes.includes(node.index));
  const have = new Set(options.haveDigests);
  const wantedBytes = image.layers.reduce(
    (sum, { digest, bytes }) => sum + (have.has(digest) ? 0 : bytes.length),
    image.config.bytes.length,
  );
  await Promise.all(
    runners.map((node) => node.agent.send('arm', { order: orderOf(node, options), poolBytes: wantedBytes })),
  );

  // A node that is broken on purpose would count as CPU or memory of nodes that are not.
  const broken = new Set(fault.excludedNodes.map((index) => fleet.nodes[index]?.daemon));
  const measured = fleet.measured.filter((child) => !broken.has(child));

  const readBytes = async () => {
    const links = await fleet.network.readLinkBytes();
    const receivedBytes = runners.reduce((sum, { host }) => sum + (links.get(host.label)?.receivedBytes ?? 0), 0);
    return { originSentBytes: links.get('origin')?.sentBytes ?? 0, receivedBytes };
  };
  const before = await readBytes();
  await waitForRest(measured, options.isProfiled === true);
  // Last, since a host takes back within seconds what is not used.
  await using _memory = await backMemory(fleet.directory, runners.length * (wantedBytes + daemonGrowthBytes));
  const usageBefore = await Promise.all(measured.map((child) => child.readUsage()));
  const splitBefore = await Promise.all(measured.map((child) => readCpuSplit(child.pid)));
  const coresBefore = readCores();
  const pulls = startPulls(runners, options, wantedBytes);
  const over = new AbortController();
  const running: RunningRace = {
    wantedBytes,
    countedNodes: counted.map((node) => node.index),
    originSentBytes: async () => (await readBytes()).originSentBytes - before.originSentBytes,
    receivedBytes: async () => (await readBytes()).receivedBytes - before.receivedBytes,
    over: over.signal,
  };
  const stopWatching = watchForTrigger(fleet, runners, fault, running);
  const outcomes = await Promise.all(counted.map((node) => pulls.get(node) as Promise<PullOutcome>));
  const cores = shareCores(coresBefore, readCores());
  over.abort();
  const findings = await stopWatching();
  await new Promise((resolve) => setTimeout(resolve, settleMs));

  const splits: CpuSplit[] = [];
  let cpuSeconds = 0;
  let peakRssBytes = 0;
  for (const [index, child] of measured.entries()) {
    if (child.hasExited()) continue;
    const usage = await child.readUsage();
    cpuSeconds += usage.cpuSeconds - (usageBefore[index]?.cpuSeconds ?? 0);
    peakRssBytes = Math.max(peakRssBytes, usage.peakRssBytes);
    splits.push(subtractCpu(await readCpuSplit(child.pid), splitBefore[index] as CpuSplit));
  }
  const originSentBytes = await running.originSentBytes();
  const nodes: NodeResult[] = [];
  for (const [index, node] of counted.entries()) {
    const outcome = outcomes[index] as PullOutcome;
    const { wrongBytes } = await node.agent.send('verify', {});
    const isFinished = outcome.errors.length === 0 && outcome.bytes >= wantedBytes;
    nodes.push({ label: node.host.label, outcome, wrongBytes, isFinished });
  }
  return { nodes, originSentBytes, cpuSeconds, peakRssBytes, cpuSplit: addCpu(splits), ...cores, findings };
}

/** A pull by a real docker says only how long it took; docker itself has checked every digest and unpacked the layers. */
async function pullByDocker(
  node: FleetNode,
  options: RaceOptions,
  delayMs: number,
  bytes: number,
): Promise<PullOutcome> {
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  const image = `${options.image.repository.replace('library/', '')}:${options.image.tag}`;
  const pulled = await node.docker?.docker(['pull', '-q', image], { timeoutMs: Math.ceil(options.deadlineMs) });
  const isDone = pulled?.exitCode === 0;
  const errors = isDone ? [] : [pulled?.output.trim() ?? 'no docker'];
  return { seconds: pulled?.seconds ?? 0, bytes: isDone ? bytes : 0, blobs: [], errors };
}

function startPulls(
  runners: readonly FleetNode[],
  options: RaceOptions,
  wantedBytes: number,
): Map<FleetNode, Promise<PullOutcome>> {
  const { start } = options;
  const pulls = new Map<FleetNode, Promise<PullOutcome>>();
  const failed = (error: unknown): PullOutcome => ({ seconds: 0, bytes: 0, blobs: [], errors: [String(error)] });
  for (const [position, node] of runners.entries()) {
    const before = start === 'rolling' ? pulls.get(runners[position - rollingAtOnce] as FleetNode) : undefined;
    const delayMs = leadMs + (start === 'staggered' ? position * staggerMs : 0);
    const order = startIn(delayMs);
    const pull = async () => {
      await before;
      if (node.docker !== undefined)
        return pullByDocker(node, options, before === undefined ? delayMs : 0, wantedBytes);
      return node.agent.send('pull', before === undefined ? order : startIn(0));
    };
    pulls.set(node, pull().catch(failed));
  }
  return pulls;
}

/** Watches what arrives at the nodes and runs the fault when its time has come; returns what ends the watch. */
function watchForTrigger(
  fleet: Fleet,
  runners: readonly FleetNode[],
  fault: Fault,
  race: RunningRace,
): () => Promise<readonly Finding[]> {
  const { trigger } = fault;
  if (trigger === undefined) return async () => [];
  const dueBytes = race.wantedBytes * runners.length * trigger.atFraction;
  const watch = async () => {
    while ((await race.receivedBytes()) < dueBytes) {
      if (race.over.aborted) throw new Error(`the fault ${fault.name} never came: all was over before`);
      await new Promise((resolve) => setTimeout(resolve, triggerPollMs));
    }
    return await trigger.run(fleet, race);
  };
  const watched = watch();
  // Awaited when the race is over.
  watched.catch(() => undefined);
  return () => watched;
}
