/**
 * `npm run bench:faults`: every fault case of the fleet bench one after another, each against its limits.
 * Needs root on Linux and Debian's iproute2 and docker-registry.
 */
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { formatTable, leftColumns } from '../src/cli/output/table.ts';
import { describeBans, type FaultCase, faultCases, findFaults, layersOf } from './lab/fault-cases.ts';
import { createFault, noFault } from './lab/faults.ts';
import { requireLabNetwork } from './lab/network.ts';
import { formatReport, recordResult } from './lab/report.ts';
import { runBench } from './lab/run-bench.ts';
import { type CaseOptions, type CaseOutcome, runCase } from './lab/run-case.ts';

const usage = `Usage: npm run bench:faults -- [options]
  --nodes 8               nodes in the fleet
  --layers 1x64MiB        layers of the image; a rolling update cuts the same bytes into ten
  --rate 10MiB            cap of every link, per second and direction
  --only NAME[,NAME]      these cases: ${faultCases.map(({ name }) => name).join(' | ')}
  --verbose               print the report of each run
  --logs DIR              keep the logs of the daemons
  --record FILE           add a line of JSON per run to a file
  --dir PATH              where data goes (default: /dev/shm)`;

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '8' },
    layers: { type: 'string', default: '1x64MiB' },
    rate: { type: 'string', default: '10MiB' },
    only: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    logs: { type: 'string' },
    record: { type: 'string' },
    dir: { type: 'string', default: existsSync('/dev/shm') ? '/dev/shm' : tmpdir() },
    help: { type: 'boolean', default: false },
  },
});

const nodes = Number(values.nodes);

const optionsOf = (each: FaultCase): CaseOptions => ({
  mode: 'shoal',
  nodes,
  layers: layersOf(each, values.layers),
  rate: values.rate,
  start: each.start,
  fault: each.fault === 'none' ? noFault : createFault(each.fault, nodes),
  client: 'http',
  directory: values.dir,
  say: () => undefined,
  ...(values.logs === undefined ? {} : { logDirectory: values.logs }),
});

async function run(each: FaultCase, clean?: CaseOutcome): Promise<CaseOutcome> {
  const outcome = await runCase(optionsOf(each), clean);
  if (values.record !== undefined) recordResult(values.record, outcome.figures);
  if (values.verbose) console.log(formatReport(outcome));
  return outcome;
}

const columns = leftColumns('case', 'max s', '/ clean', '/ bound', 'egress', 'wrong', 'finished', 'bans', 'verdict');

function rowOf(name: string, { figures }: CaseOutcome, wrong: readonly string[]): string[] {
  const text = (value: number | null | undefined) => (typeof value === 'number' ? String(value) : '-');
  return [
    name,
    text(figures.seconds.max),
    text(figures.fault?.cleanRatio),
    text(figures.ratio),
    text(figures.originEgressRatio),
    text(figures.wrongBytes),
    `${figures.nodes - figures.unfinished}/${figures.nodes}`,
    describeBans(figures) || '-',
    wrong.length === 0 ? 'pass' : `FAIL: ${wrong.join('; ')}`,
  ];
}

async function runAll(): Promise<number> {
  requireLabNetwork();
  if (!Number.isInteger(nodes) || nodes < 4 || nodes > 250) throw new Error('--nodes: 4 to 250');
  const names = values.only?.split(',');
  const cases = faultCases.filter(({ name }) => names?.includes(name) ?? true);
  const unknown = names?.filter((name) => !faultCases.some((each) => each.name === name)) ?? [];
  if (unknown.length > 0) throw new Error(`--only: no case ${unknown.join(', ')}`);

  console.log('clean: the same fleet with nothing going wrong');
  const clean = await run({ name: 'clean', fault: 'none', start: 'together', limits: {} });
  const rows = [rowOf('clean', clean, findFaults(clean.figures, {}))];
  for (const each of cases) {
    const row = await run(each, each.limits.cleanRatio === undefined ? undefined : clean).then(
      (outcome) => rowOf(each.name, outcome, findFaults(outcome.figures, each.limits)),
      (error: unknown) => [each.name, ...Array(columns.length - 2).fill('-'), `FAIL: ${String(error)}`],
    );
    rows.push(row);
    console.log(`${each.name}: ${row.at(-1)}`);
  }
  console.log(`\n${nodes} nodes, ${values.layers} @ ${values.rate}/s\n${formatTable(columns, rows)}`);
  console.log(`${clean.figures.machine}, commit ${clean.figures.commit}`);
  return rows.every((row) => row.at(-1) === 'pass') ? 0 : 1;
}

await runBench({ usage, isHelpAsked: values.help, run: runAll });
