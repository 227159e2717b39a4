/** How the time grows with the fleet while the rate stays, and where it is the CPU of the machine that makes it grow. */
import { formatTable, rightColumns } from '../../src/cli/output/table.ts';
import type { FleetFigures } from './report.ts';
import { formatPercent } from './statistics.ts';

/** From here on the cores are what the nodes wait for: the rest are pauses between messages of processes that have work. */
const fullShare = 0.9;

/** Writes the table of one case with several numbers of nodes, in the order they ran. */
export function formatGrowth(runs: readonly FleetFigures[]): string {
  const [first] = runs;
  if (first === undefined) return '';
  const rows = runs.map((run) => [
    String(run.nodes),
    textOf(run.ratio),
    growthOf(first, run),
    formatPercent(run.busyShare),
    formatPercent(run.stolenShare),
    `${run.originEgressRatio}x`,
    textOf(run.cpuSecondsPerGiB),
  ]);
  const table = formatTable(
    rightColumns('nodes', 'max / bound', 'growth', 'cores busy', 'stolen', 'origin', 'CPU-s/GiB'),
    rows,
  );
  const full = runs.find((run) => run.busyShare >= fullShare);
  const verdict =
    full === undefined
      ? `CPU allows all of it: never more than ${formatPercent(Math.max(...runs.map((run) => run.busyShare)))} of the cores were busy.`
      : `CPU stops allowing it at ${full.nodes} nodes: ${formatPercent(full.busyShare)} of the cores were busy.`;
  return `${table}\n${verdict}`;
}

// A fleet that did not finish has an endless time, and no ratio to compare.
const isFigure = (value: number | null): value is number => value !== null && Number.isFinite(value);
const textOf = (value: number | null) => (isFigure(value) ? String(value) : '-');

/** By how much the ratio is above that of the first run, as a percentage. */
function growthOf(first: FleetFigures, run: FleetFigures): string {
  if (!isFigure(first.ratio) || !isFigure(run.ratio)) return '-';
  const growth = run.ratio / first.ratio - 1;
  return `${growth >= 0.005 ? '+' : ''}${formatPercent(growth)}`;
}
