/**
 * What the CPU of a node in a swarm goes into. In a race everything happens at once, so two nodes of the fleet do it again in turn with an image that is
 * new to all: one reads it from the origin, the other fetches it from that one, and then gives it to its client. What the two have run before
 * is compiled by then, so the sum is that of a daemon that has been up for a while.
 */

import { join } from 'node:path';
import { startChild } from '../../test/support/child.ts';
import { adminPort } from './admin.ts';
import { backMemory } from './backed-memory.ts';
import { type CpuSplit, readCpuSplit, subtractCpu, totalCpu } from './cpu-split.ts';
import type { Fleet, FleetNode } from './fleet.ts';
import { seed } from './race.ts';
import type { RandomImage } from './random-image.ts';
import { waitForRest } from './rest.ts';

/** CPU seconds per GiB of one node. */
export interface CpuPhases {
  /** Bytes from the origin into the store, each piece hashed and signed; in a swarm a node does this with its share alone. */
  readonly receivedFromOrigin: number;
  /** Bytes from a peer into the store, each piece hashed and its signature checked. */
  readonly receivedFromPeer: number;
  /** The digest of the whole, by the hash threads; a blob of up to 512 KiB is hashed where it is received. */
  readonly verified: number;
  /** Bytes sent to a peer. */
  readonly seeded: number;
  /** Bytes of a held image sent to a client. */
  readonly served: number;
  /** What a node does with each byte: received from a peer, verified, seeded and served. */
  readonly sum: number;
}

/** What the daemons spent while the image went one way. */
export interface PhaseCosts {
  /** Of the node that reads from the origin. */
  readonly fromOrigin: CpuSplit;
  /** Of the node that fetches from it. */
  readonly fromPeer: CpuSplit;
  /** Of the node it fetches from. */
  readonly toPeer: CpuSplit;
  /** Of the node whose client pulls. */
  readonly toClient: CpuSplit;
}

const gibibyte = 1024 ** 3;
/** What trails a transfer (a commit, an announcement) belongs to it. */
const settleMs = 1000;
const mainScript = join(import.meta.dirname, '..', '..', 'dist', 'main.js');

export function phasesOf({ fromOrigin, fromPeer, toPeer, toClient }: PhaseCosts, bytes: number): CpuPhases {
  const perGiB = (seconds: number) => seconds / (bytes / gibibyte);
  const phases = {
    receivedFromOrigin: perGiB(totalCpu(fromOrigin) - fromOrigin.hashThreads),
    receivedFromPeer: perGiB(totalCpu(fromPeer) - fromPeer.hashThreads),
    verified: perGiB(fromPeer.hashThreads),
    seeded: perGiB(totalCpu(toPeer)),
    served: perGiB(totalCpu(toClient)),
  };
  return { ...phases, sum: phases.receivedFromPeer + phases.verified + phases.seeded + phases.served };
}

/** Measures the phases with the first two nodes; `image` must be pushed and unknown to all of them. */
export async function measureCpuPhases(fleet: Fleet, image: RandomImage, deadlineMs: number): Promise<CpuPhases> {
  const [first, second] = fleet.nodes;
  if (first?.daemon === undefined || second?.daemon === undefined) throw new Error('--phases needs two nodes of Shoal');
  const daemons = [first.daemon, second.daemon] as const;
  const during = async (work: () => Promise<void>) => {
    await waitForRest(fleet.measured, fleet.options.profileNode !== undefined);
    await using _memory = await backMemory(fleet.directory, image.sizeBytes);
    const before = await Promise.all(daemons.map(({ pid }) => readCpuSplit(pid)));
    await work();
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    const after = await Promise.all(daemons.map(({ pid }) => readCpuSplit(pid)));
    const spent = (at: 0 | 1) => subtractCpu(after[at] as CpuSplit, before[at] as CpuSplit);
    return { first: spent(0), second: spent(1) };
  };
  const one = await during(() => pullIntoStore(first, fleet.directory, image));
  const two = await during(() => pullIntoStore(second, fleet.directory, image));
  const three = await during(() => seed([second], image, deadlineMs));
  return phasesOf(
    { fromOrigin: one.first, fromPeer: two.second, toPeer: two.first, toClient: three.second },
    image.sizeBytes,
  );
}

/** `shoal pull`: no byte goes to a client. */
async function pullIntoStore({ host }: FleetNode, directory: string, image: RandomImage): Promise<void> {
  const child = startChild({
    name: `shoal pull on ${host.label}`,
    command: process.execPath,
    args: [mainScript, 'pull', `docker.io/${image.repository}:${image.tag}`, '--admin', `127.0.0.1:${adminPort}`],
    logPath: join(directory, `pull-${host.label}.log`),
    netns: host.netns,
  });
  const outcome = await child.exited;
  if (outcome !== 0) throw new Error(`${child.name} ended with ${outcome}: ${child.readLog()}`);
}
