/**
 * `npm run bench:fleet`: how fast a fleet with capped links pulls an image, against the physical bound.
 * Needs root on Linux and Debian's iproute2 and docker-registry.
 */
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { createFault, faultNames, noFault } from './lab/faults.ts';
import type { FleetMode } from './lab/fleet.ts';
import { formatGrowth } from './lab/growth.ts';
import { requireLabNetwork } from './lab/network.ts';
import type { StartPattern } from './lab/race.ts';
import { type FleetFigures, formatReport, recordResult } from './lab/report.ts';
import { runBench } from './lab/run-bench.ts';
import { type CaseOptions, runCase, runCleanCase } from './lab/run-case.ts';

const usage = `Usage: npm run bench:fleet -- [options]
  --nodes 8               nodes in the fleet; 4,8,16 runs the case with each and says how the time grows
  --layers 1x128MiB       layers of the image, e.g. 10x12MiB or 40x256KiB+4x8MiB
  --rate 20MiB            cap of every link, per second and direction; "none" = uncapped
  --start together        together | staggered (a node per second) | rolling (a new version that shares 80 % of its layers)
  --fault NAME[:PERCENT]  ${faultNames.join(' | ')}
  --compare-clean         run the same case without the fault before, and hold the time against it
  --client http           http (counts bytes and first bytes) | docker (a real dockerd per node; its unpacking is in the time)
  --direct                no Shoal: every node pulls from the origin
  --pull-through          no Shoal: every node pulls from one docker-registry in proxy mode
  --warm LAYERS           before the clock starts every node pulls another image of these layers, so that the daemons have
                          run for a while (compiled code, open connections) and only the image is new to them
  --phases                say afterwards what receiving, verifying, seeding and serving cost, each by itself
  --json                  print one line of JSON
  --record FILE           add the line of JSON to a file
  --logs DIR              keep the logs of the daemons
  --cpu-prof N            write a CPU profile of node N
  --dir PATH              where data goes (default: /dev/shm, so that one disk is not shared by the whole fleet)
  --deadline SECONDS      give up on a node after this (default: 60 s + 12 x bound)`;

const starts: readonly StartPattern[] = ['together', 'staggered', 'rolling'];

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '8' },
    layers: { type: 'string', default: '1x128MiB' },
    rate: { type: 'string', default: '20MiB' },
    start: { type: 'string', default: 'together' },
    fault: { type: 'string' },
    'compare-clean': { type: 'boolean', default: false },
    client: { type: 'string', default: 'http' },
    direct: { type: 'boolean', default: false },
    'pull-through': { type: 'boolean', default: false },
    phases: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    record: { type: 'string' },
    warm: { type: 'string' },
    logs: { type: 'string' },
    'cpu-prof': { type: 'string' },
    dir: { type: 'string', default: existsSync('/dev/shm') ? '/dev/shm' : tmpdir() },
    deadline: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

async function run(): Promise<number> {
  requireLabNetwork();
  const sizes = values.nodes.split(',').map(Number);
  for (const nodes of sizes)
    if (!Number.isInteger(nodes) || nodes < 1 || nodes > 250) throw new Error('--nodes: 1 to 250');
  const runs: FleetFigures[] = [];
  for (const nodes of sizes) runs.push(await runOnce(nodes));
  if (runs.length > 1 && !values.json) console.log(formatGrowth(runs));
  return runs.every((figures) => figures.wrongBytes === 0 && figures.unfinished === 0) ? 0 : 1;
}

async function runOnce(nodes: number): Promise<FleetFigures> {
  const start = starts.find((name) => name === values.start);
  if (start === undefined) throw new Error(`--start: ${starts.join(', ')}`);
  const mode: FleetMode = values.direct ? 'direct' : values['pull-through'] ? 'pull-through' : 'shoal';
  const fault = values.fault === undefined ? noFault : createFault(values.fault, nodes);
  const { client } = values;
  if (client !== 'http' && client !== 'docker') throw new Error('--client: http or docker');
  if (client === 'docker' && (mode !== 'shoal' || fault.trigger !== undefined || start === 'rolling')) {
    throw new Error(
      '--client docker pulls through Shoal only, and shows no progress for a fault or a version to build on',
    );
  }
  if (values.phases && (mode !== 'shoal' || fault !== noFault || nodes < 2))
    throw new Error('--phases: with two or more nodes of Shoal, and no fault');
  const say = (text: string) => {
    if (!values.json) console.log(text);
  };

  const options: CaseOptions = {
    mode,
    nodes,
    layers: values.layers,
    rate: values.rate,
    start,
    fault,
    client,
    directory: values.dir,
    isPhased: values.phases,
    say,
    ...(values.warm === undefined ? {} : { warm: values.warm }),
    ...(values.logs === undefined ? {} : { logDirectory: values.logs }),
    ...(values.deadline === undefined ? {} : { deadlineSeconds: Number(values.deadline) }),
    ...(values['cpu-prof'] === undefined ? {} : { profileNode: Number(values['cpu-prof']) }),
  };
  const clean = values['compare-clean'] && fault !== noFault ? await runCleanCase(options) : undefined;
  if (clean !== undefined) say(formatReport(clean));
  const outcome = await runCase(options, clean);
  const { figures, result } = outcome;
  console.log(values.json ? JSON.stringify(figures) : formatReport(outcome));
  if (values.json)
    for (const node of result.nodes)
      if (!node.isFinished) console.error(`${node.label}: ${node.outcome.errors.join('; ')}`);
  if (values.record !== undefined) recordResult(values.record, figures);
  return figures;
}

await runBench({ usage, isHelpAsked: values.help, run });
