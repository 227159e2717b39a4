/** How the time grows with the fleet while the rate stays, and where it is the CPU of the machine that makes it grow. */
import type { FleetFigures } from './report.ts';

/** From here on the cores are what the nodes wait for: the rest are pauses between messages of processes that have work. */
const fullShare = 0.9;

/** Writes the table of one case with several numbers of nodes, in the order they ran. */
export function formatGrowth(runs: readonly FleetFigures[]): string {
  const [first] = runs;
  if (first === undefined) return '';
  const rows = [
    ['nodes', 'max / bound', 'growth', 'cores busy', 'origin', 'CPU-s/GiB'],
    ...runs.map((run) => [
      String(run.nodes),
      textOf(run.ratio),
      growthOf(first, run),
      `${Math.round(run.busyShare * 100)} %`,
      `${run.originEgressRatio}x`,
      textOf(run.cpuSecondsPerGiB),
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const table = rows.map((row) => row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join('  '));
  const full = runs.find((run) => run.busyShare >= fullShare);
  const verdict =
    full === undefined
      ? `CPU allows all of it: never more than ${Math.round(Math.max(...runs.map((run) => run.busyShare)) * 100)} % of the cores were busy.`
      : `CPU stops allowing it at ${full.nodes} nodes: ${Math.round(full.busyShare * 100)} % of the cores were busy.`;
  return [...table, verdict].join('\n');
}

const textOf = (value: number | null) => (value === null ? '-' : String(value));

/** By how much the ratio is above that of the first run, as a percentage. */
function growthOf(first: FleetFigures, run: FleetFigures): string {
  if (first.ratio === null || run.ratio === null || !Number.isFinite(run.ratio)) return '-';
  const percent = Math.round((run.ratio / first.ratio - 1) * 100);
  return `${percent > 0 ? '+' : ''}${percent} %`;
}
