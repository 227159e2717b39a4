import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One line of `bench/results/*.jsonl` as `npm run bench:fleet -- --record` writes it. */
interface FleetLine {
  readonly case: string;
  readonly boundSeconds: number | null;
  readonly seconds: { readonly max: number | null };
  readonly ratio: number | null;
  readonly originEgressRatio: number;
  readonly ttfbSecondsMax: number;
  /** Not in lines of before 2026-11-27. */
  readonly stolenShare?: number;
  readonly mode: 'shoal' | 'direct' | 'pull-through';
  readonly machine: string;
  readonly commit: string;
}

interface Case {
  readonly name: string;
  /** How the bench names it. */
  readonly bench: string;
  /**
   * Kraken v0.1.6 on two cores, the same case with processes capped at the rate in MB/s: seconds and origin bytes over image
   * bytes, with the random policy and with the policy it ships. Measured once for this project's design; not run by the bench.
   */
  readonly kraken?: { readonly random: string; readonly shipped: string };
}

const cases: readonly Case[] = [
  {
    name: '8 nodes, 128 MiB, 20 MiB/s',
    bench: '8 nodes, 1x128MiB @ 20MiB/s',
    kraken: { random: '14.6-16.0 s, 2.25x', shipped: '37.8-42.5 s, 5.94x' },
  },
  {
    name: '16 nodes, 128 MiB, 10 MiB/s',
    bench: '16 nodes, 1x128MiB @ 10MiB/s',
    kraken: { random: '37-38.6 s, 2.88x', shipped: '110.8 s' },
  },
  { name: '32 nodes, 64 MiB, 5 MiB/s', bench: '32 nodes, 1x64MiB @ 5MiB/s', kraken: { random: '57 s', shipped: '-' } },
  {
    name: '8 nodes, 10 layers of 12 MiB, 20 MiB/s',
    bench: '8 nodes, 10x12MiB @ 20MiB/s',
    kraken: { random: '44.7 s, 5.3x', shipped: '43.0 s, 5.0x' },
  },
  { name: '8 nodes, 40 x 256 KiB + 4 x 8 MiB, 20 MiB/s', bench: '8 nodes, 40x256KiB+4x8MiB @ 20MiB/s' },
  {
    name: '8 nodes, 512 MiB, 50 MiB/s',
    bench: '8 nodes, 1x512MiB @ 50MiB/s',
    kraken: { random: '17.8-19.3 s, 1.61x', shipped: '79.2 s' },
  },
];

/** Writes the table of the simultaneous cold start from the latest line of each case and mode. */
export function benchTable(root: string): string {
  const lines = readLines(join(root, 'bench/results'));
  const latest = new Map(lines.map((line) => [`${line.mode} ${line.case}`, line]));
  const find = (mode: FleetLine['mode'], { bench }: Case) => latest.get(`${mode} ${bench}, together, fault none`);
  const text = (line: FleetLine | undefined) =>
    line === undefined ? 'no result yet' : `${seconds(line.seconds.max)}, ${line.originEgressRatio.toFixed(2)}x`;
  const rows = cases.map((each) => {
    const shoal = find('shoal', each);
    const bound = (shoal ?? find('direct', each))?.boundSeconds ?? boundOf(each.bench);
    return [
      each.name,
      bound === null ? '-' : `${bound.toFixed(1)} s`,
      shoal === undefined
        ? 'no result yet'
        : `${text(shoal)}, first byte ${shoal.ttfbSecondsMax.toFixed(2)} s${stolen(shoal)}`,
      text(find('direct', each)),
      text(find('pull-through', each)),
      each.kraken?.random ?? '-',
      each.kraken?.shipped ?? '-',
    ];
  });
  const head = ['Simultaneous cold start', 'bound', 'Shoal', 'no Shoal', 'docker-registry', 'Kraken, random', 'Kraken'];
  const used = lines.filter((line) => cases.some(({ bench }) => line.case.startsWith(bench)));
  const machines = [...new Set(used.map(({ machine }) => machine))];
  return [
    '| '.concat(head.join(' | '), ' |'),
    `|${head.map(() => ' --- |').join('')}`,
    ...rows.map((row) => `| ${row.join(' | ')} |`),
    '',
    `Each cell: seconds until the last node had everything, bytes on the origin's link over bytes of the image. ${
      machines.length === 0 ? '' : `Measured on ${machines.join('; ')}.`
    }`,
  ].join('\n');
}

function readLines(directory: string): FleetLine[] {
  if (!existsSync(directory)) return [];
  const names = readdirSync(directory).filter((name) => name.endsWith('.jsonl'));
  return names.sort().flatMap((name) =>
    readFileSync(join(directory, name), 'utf8')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => JSON.parse(line) as FleetLine)
      .filter((line) => line.mode !== undefined),
  );
}

function seconds(value: number | null): string {
  return value === null ? 'not finished' : `${value.toFixed(1)} s`;
}

/** What a reader must know of a machine whose host gave its cores to others meanwhile. */
function stolen({ stolenShare = 0 }: FleetLine): string {
  return stolenShare < 0.05 ? '' : ` (${Math.round(stolenShare * 100)} % of the CPU stolen)`;
}

/** Bytes over rate, for a case that has not been run. */
function boundOf(bench: string): number | null {
  const rate = Number(/@ (\d+)MiB/.exec(bench)?.[1]);
  const sizes = [...bench.matchAll(/(\d+)x(\d+)(KiB|MiB)/g)];
  if (Number.isNaN(rate)) return null;
  const mebibytes = sizes.reduce((sum, [, count, size, unit]) => {
    return sum + Number(count) * Number(size) * (unit === 'KiB' ? 1 / 1024 : 1);
  }, 0);
  return mebibytes / rate;
}
