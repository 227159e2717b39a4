/**
 * Swarms of the simulator in `test/support` against their physical bound, without processes, sockets or clocks.
 * Usage: node bench/simulate.ts [CASE | all] [OVERRIDES], with the overrides of the schedule and of the simulation as JSON.
 */
import type { Digest } from '../src/oci/digest.ts';
import { type SimulationOptions, type Starvation, SwarmSimulation } from '../test/support/swarm-simulation.ts';

const MiB = 1024 * 1024;
const starved: Starvation = {
  stallMs: 1200,
  untilMs: 6_000,
  cpuMsPerPiece: 10,
  cpuMsPerMessage: 1.5,
  directoryTimeoutMs: 2_000,
  settleMs: 40,
  settleMaxMs: 2_000,
};
const slowFirst = (index: number) => (index === 0 ? MiB / 5 : Number.POSITIVE_INFINITY);
// The link of one is full of what peers send it.
const heldUp = (index: number) => (index === 0 ? 0.4 * MiB : Number.POSITIVE_INFINITY);
const cases: [string, number, number[], number, Partial<SimulationOptions>?][] = [
  ['8x128@20', 8, [128], 20],
  ['4x128@10', 4, [128], 10],
  ['16x128@10', 16, [128], 10],
  ['32x64@5', 32, [64], 5],
  ['8x10x12@20', 8, Array.from({ length: 10 }, () => 12), 20],
  ['8x small', 8, [...Array.from({ length: 40 }, () => 0.25), 8, 8, 8, 8], 20],
  ['8x512@50', 8, [512], 50],
  ['8 small last', 8, [64, 0.58, 0.02, 0.02], 6],
  // Links on which a piece takes seconds.
  ['8x32@2', 8, [32], 2],
  ['16x32@1', 16, [32], 1],
  ['32x32@1', 32, [32], 1],
  ['12x24+4@.5', 12, [24, 4, 0.5], 0.5],
  ['16x16@.25', 16, [16], 0.25],
  ['8x8@.1', 8, [8], 0.1],
  // Peers that hold everything behind slow links, and an origin that is fast.
  ['3 slow seed', 3, [6], 20, { seeders: 1, uplink: slowFirst }],
  ['8 slow seed', 8, [32, 6], 20, { seeders: 1, uplink: slowFirst }],
  ['8 slow member', 8, [64], 20, { uplink: slowFirst }],
  ['8, 1 at a tenth', 8, [64], 10, { events: [{ atMs: 0, run: ({ rates }) => void rates.splice(0, 1, MiB) }] }],
  ['8, 1 mute', 8, [64], 10, { isMute: (index) => index === 7 }],
  ['4, 1 held up', 4, [128], 10, { originRequestRate: heldUp }],
  ['8, 1 held up', 8, [64], 10, { originRequestRate: heldUp }],
  [
    '4, seed slows',
    4,
    [48],
    10,
    { seeders: 1, events: [{ atMs: 1_000, run: ({ rates }) => void rates.splice(0, 1, MiB / 5) }] },
  ],
  ['6, slow link', 6, [16], 10, { events: [{ atMs: 0, run: ({ rates }) => void rates.splice(5, 1, MiB / 20) }] }],
  ['8 seeded', 8, [128], 20, { seeders: 1 }],
  ['32 seeded', 32, [64], 5, { seeders: 1 }],
  ['32 seeded slow', 32, [32, 8], 1, { seeders: 1 }],
  ['8, 1 ignored', 8, [64], 20, { originIgnores: (index) => index === 3 }],
  ['8, 4 ignored', 8, [64], 20, { originIgnores: (index) => index % 2 === 1 }],
  ['10 starved', 10, [16, 3, 0.02], 100, { starvation: starved, originRequestRate: () => 4 * MiB }],
  ['8 starved', 8, [64], 20, { starvation: starved }],
];
const only = process.argv[2];
const override = JSON.parse(process.argv[3] ?? '{}') as Record<string, number>;
for (const [name, nodes, layers, rate, more] of cases) {
  if (only !== undefined && only !== 'all' && only !== name) continue;
  const started = performance.now();
  const simulation = new SwarmSimulation({
    nodes,
    layers: layers.map((size) => size * MiB),
    rateBytesPerSecond: rate * MiB,
    uploadSlots: override['uploadSlots'] ?? 8,
    maxWaiting: override['maxWaiting'] ?? 2,
    busyMs: override['busyMs'] ?? 50,
    seed: override['seed'] ?? 1,
    latencyMs: override['latencyMs'] ?? 2,
    ...more,
    schedule: {
      maxRequests: 8,
      maxRequestsPerPeer: 2,
      maxSuppliers: 8,
      maxInFlightBytes: 32 * MiB,
      readerWindowPieces: 8,
      originWindowExtents: 8,
      originWindowStartExtents: 3,
      takeoverMs: 1500,
      originStallMs: 3000,
      peerStallMs: 2000,
      hedgeFactor: 4,
      ...override,
    },
  });
  const result = simulation.run();
  const max = Math.max(...result.seconds);
  const bound = layers.reduce((sum, size) => sum + size, 0) / rate;
  let again = 0;
  for (const count of simulation.originPieces.values()) if (count > 1) again += count - 1;
  console.log(
    name.padEnd(12),
    `max ${max.toFixed(2)} bound ${bound.toFixed(2)} ratio ${(max / bound).toFixed(3)} origin ${result.originRatio.toFixed(3)} (again ${again}) ttfb ${result.ttfb.toFixed(2)} dup ${simulation.duplicatePeerPieces} last layer ${((simulation.layerMs.get(simulation.digests().at(-1)?.digest as Digest) ?? 0) / 1000).toFixed(2)} (${((performance.now() - started) / 1000).toFixed(1)} s)`,
  );
}
