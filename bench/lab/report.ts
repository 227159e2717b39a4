/** What a run of the fleet bench says: one line of JSON with the agreed fields, and a table for people. */
import { createHash, randomFillSync } from 'node:crypto';
import { appendFileSync, mkdirSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { dirname } from 'node:path';
import type { FleetMode } from './fleet.ts';
import { describeCommit } from './network.ts';
import type { RaceResult } from './race.ts';
import { percentile, round } from './statistics.ts';

export interface FleetFigures {
  readonly case: string;
  readonly nodes: number;
  readonly bytes: number;
  readonly boundSeconds: number | null;
  readonly seconds: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly ratio: number | null;
  readonly originEgressRatio: number;
  readonly ttfbSecondsMax: number | null;
  readonly cpuSecondsPerGiB: number | null;
  readonly hashCpuSecondsPerGiB: number;
  readonly rssMiBMax: number | null;
  readonly wrongBytes: number;
  readonly mode: FleetMode;
  readonly machine: string;
  readonly commit: string;
}

const gibibyte = 1024 ** 3;
const mebibyte = 1024 ** 2;

export interface FiguresInput {
  readonly caseName: string;
  readonly mode: FleetMode;
  /** Bytes every node must fetch. */
  readonly bytes: number;
  /** Bytes that are new to the origin's clients; what one copy of them costs is the bound of the egress. */
  readonly rateBytesPerSecond: number | undefined;
  readonly hashCpuSecondsPerGiB: number;
  readonly result: RaceResult;
}

export function computeFigures(input: FiguresInput): FleetFigures {
  const { result, bytes, mode } = input;
  const seconds = result.nodes.map((node) => (node.isFinished ? node.outcome.seconds : Number.POSITIVE_INFINITY));
  const boundSeconds = input.rateBytesPerSecond === undefined ? null : bytes / input.rateBytesPerSecond;
  const max = percentile(seconds, 100);
  const received = result.nodes.reduce((sum, node) => sum + node.outcome.bytes, 0);
  const ttfb = result.nodes.flatMap((node) => node.outcome.blobs.map((blob) => blob.ttfbSeconds));
  return {
    case: input.caseName,
    nodes: result.nodes.length,
    bytes,
    boundSeconds: boundSeconds === null ? null : round(boundSeconds),
    // JSON turns the infinity of a node that never finished into null.
    seconds: { p50: round(percentile(seconds, 50)), p99: round(percentile(seconds, 99)), max: round(max) },
    ratio: boundSeconds === null ? null : round(max / boundSeconds),
    originEgressRatio: round(result.originSentBytes / bytes),
    // A pull by docker shows no first byte; null says so.
    ttfbSecondsMax: ttfb.length === 0 ? null : round(Math.max(...ttfb)),
    cpuSecondsPerGiB: mode === 'direct' || received === 0 ? null : round(result.cpuSeconds / (received / gibibyte), 2),
    hashCpuSecondsPerGiB: round(input.hashCpuSecondsPerGiB, 2),
    rssMiBMax: mode === 'direct' ? null : round(result.peakRssBytes / mebibyte, 1),
    wrongBytes: result.nodes.reduce((sum, node) => sum + node.wrongBytes, 0),
    mode,
    machine: describeMachine(),
    commit: describeCommit(),
  };
}

/** Prints what a person wants to know first, then the slowest pulls and everything that went wrong. */
export function formatReport(figures: FleetFigures, result: RaceResult): string {
  const value = (number: number | null, unit: string) => (number === null ? '-' : `${number} ${unit}`.trimEnd());
  const layers = result.nodes.flatMap((node) => node.outcome.blobs);
  const resumes = layers.reduce((sum, blob) => sum + blob.resumes, 0);
  const rows: [string, string][] = [
    ['mode', figures.mode],
    ['bytes per node', `${round(figures.bytes / mebibyte, 1)} MiB`],
    ['bound (bytes / rate)', value(figures.boundSeconds, 's')],
    ['seconds p50 / p99 / max', `${figures.seconds.p50} / ${figures.seconds.p99} / ${figures.seconds.max}`],
    ['max / bound', value(figures.ratio, '')],
    ['origin egress / bytes', String(figures.originEgressRatio)],
    ['first byte of a blob, worst', value(figures.ttfbSecondsMax, 's')],
    ['CPU per GiB received', value(figures.cpuSecondsPerGiB, 's')],
    ['  of it by thread', formatThreads(result)],
    ['SHA-256 alone, per GiB', `${figures.hashCpuSecondsPerGiB} s`],
    ['peak memory of a process', value(figures.rssMiBMax, 'MiB')],
    ['blobs resumed by clients', String(resumes)],
    ['wrong bytes', String(figures.wrongBytes)],
    ['nodes finished', `${result.nodes.filter((node) => node.isFinished).length} of ${result.nodes.length}`],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = [`\n${figures.case}`, ...rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`)];
  for (const node of result.nodes) {
    if (!node.isFinished) lines.push(`  ${node.label}: ${node.outcome.bytes} bytes, ${node.outcome.errors.join('; ')}`);
  }
  lines.push(`  ${figures.machine}, commit ${figures.commit}`);
  return lines.join('\n');
}

/** CPU seconds per GiB by thread name, the greediest first; what is below a hundredth is left out. */
function formatThreads(result: RaceResult): string {
  const received = result.nodes.reduce((sum, node) => sum + node.outcome.bytes, 0) / gibibyte;
  return [...result.threadCpuSeconds]
    .map(([name, seconds]) => ({ name, perGiB: seconds / received }))
    .filter(({ perGiB }) => perGiB >= 0.01)
    .toSorted((left, right) => right.perGiB - left.perGiB)
    .map(({ name, perGiB }) => `${name} ${perGiB.toFixed(2)}`)
    .join(', ');
}

/** Measures what SHA-256 costs on this machine now: 256 MiB through node:crypto. */
export function measureHashCpuSecondsPerGiB(): number {
  const chunk = Buffer.allocUnsafe(mebibyte);
  randomFillSync(chunk);
  const hash = createHash('sha256');
  const before = process.cpuUsage();
  for (let count = 0; count < 256; count += 1) hash.update(chunk);
  hash.digest();
  const { user, system } = process.cpuUsage(before);
  return ((user + system) / 1e6) * 4;
}

export function describeMachine(): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() ?? 'unknown CPU';
  return `${processors.length} x ${model}, ${Math.round(totalmem() / gibibyte)} GiB, Linux ${release()}, Node ${process.version}`;
}

/** Adds a line to a file of results. */
export function recordResult(path: string, result: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  appendFileSync(path, `${JSON.stringify(result)}\n`);
}
