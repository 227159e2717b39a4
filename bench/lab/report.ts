/**
 * What a run of the fleet bench says: one line of JSON with the agreed fields, and a table for people.
 * What every bench records with its figures (machine, commit, the cost of hashing) is here too.
 */
import { execFileSync } from 'node:child_process';
import { createHash, randomFillSync } from 'node:crypto';
import { appendFileSync, mkdirSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { threadCpuSeconds } from '../../src/content/thread-cpu.ts';
import type { BanReport } from './bans.ts';
import type { CpuPhases } from './cpu-phases.ts';
import { type CpuSplit, mapCpu } from './cpu-split.ts';
import type { Finding } from './findings.ts';
import type { FleetMode } from './fleet.ts';
import type { RaceResult } from './race.ts';
import { formatPercent, percentile, round } from './statistics.ts';

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
  /** The CPU seconds per GiB by where they went; the kernel's share is part of all the others. */
  readonly cpuSplit: CpuSplit | null;
  /** The same by phase, one after the other when the race is over; only with `--phases`. */
  readonly cpuPhases?: CpuPhases;
  readonly hashCpuSecondsPerGiB: number;
  /** What a step through memory costs that no cache of a core holds; grows with what neighbours on the chip do. */
  readonly cacheMissNs: number;
  /** Of the machine's cores while the clock ran; near 1 the time is that of the CPU and not of the links. */
  readonly busyShare: number;
  /** Of the time of all cores, what the host of this machine gave to others: from 0.05 on, times and CPU say little. */
  readonly stolenShare: number;
  readonly rssMiBMax: number | null;
  readonly wrongBytes: number;
  /** Blobs that clients had to fetch anew after a break: what had come before it was wrong. */
  readonly restarts: number;
  /** Of `nodes`, those that did not get everything. */
  readonly unfinished: number;
  /** Absent when nothing went wrong. */
  readonly fault?: FaultFigures;
  readonly mode: FleetMode;
  readonly machine: string;
  readonly commit: string;
}

export interface FaultFigures extends BanReport {
  readonly name: string;
  /** The slowest of the same nodes in the same case without the fault, run before; null when it was not. */
  readonly cleanSecondsMax: number | null;
  readonly cleanRatio: number | null;
  readonly findings: readonly Finding[];
}

const gibibyte = 1024 ** 3;
const mebibyte = 1024 ** 2;

export interface FiguresInput {
  readonly caseName: string;
  readonly mode: FleetMode;
  /** Bytes every node must fetch. */
  readonly bytes: number;
  /** Of every node's link; undefined is as fast as the machine. */
  readonly rateBytesPerSecond: number | undefined;
  readonly hashCpuSecondsPerGiB: number;
  readonly cacheMissNs: number;
  readonly result: RaceResult;
  readonly cpuPhases?: CpuPhases;
  readonly fault?: {
    readonly name: string;
    readonly clean: RaceResult | undefined;
    readonly findings: readonly Finding[];
    readonly bans: BanReport;
  };
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
    cpuSplit:
      mode === 'direct' || received === 0
        ? null
        : mapCpu(result.cpuSplit, (spent) => round(spent / (received / gibibyte), 2)),
    ...(input.cpuPhases === undefined ? {} : { cpuPhases: roundPhases(input.cpuPhases) }),
    hashCpuSecondsPerGiB: round(input.hashCpuSecondsPerGiB, 2),
    cacheMissNs: round(input.cacheMissNs, 0),
    busyShare: round(result.busyShare, 2),
    stolenShare: round(result.stolenShare, 2),
    rssMiBMax: mode === 'direct' ? null : round(result.peakRssBytes / mebibyte, 1),
    wrongBytes: result.nodes.reduce((sum, node) => sum + node.wrongBytes, 0),
    restarts: result.nodes.flatMap((node) => node.outcome.blobs).reduce((sum, blob) => sum + blob.restarts, 0),
    unfinished: result.nodes.filter((node) => !node.isFinished).length,
    ...(input.fault === undefined ? {} : { fault: faultFigures(input.fault, result, max) }),
    mode,
    machine: describeMachine(),
    commit: describeCommit(),
  };
}

function faultFigures(
  { name, clean, findings, bans }: NonNullable<FiguresInput['fault']>,
  result: RaceResult,
  max: number,
): FaultFigures {
  // Only the nodes that count here: the victim of a fault may have been the slowest before.
  const labels = new Set(result.nodes.map((node) => node.label));
  const before = clean?.nodes.filter((node) => labels.has(node.label)).map((node) => node.outcome.seconds);
  const cleanMax = before === undefined ? null : percentile(before, 100);
  return {
    name,
    cleanSecondsMax: cleanMax === null ? null : round(cleanMax),
    cleanRatio: cleanMax === null ? null : round(max / cleanMax),
    findings,
    ...bans,
  };
}

interface ReportInput {
  readonly figures: FleetFigures;
  readonly result: RaceResult;
  readonly explanation?: string;
}

/** Prints what a person wants to know first, then the slowest pulls and everything that went wrong. */
export function formatReport({ figures, result, explanation }: ReportInput): string {
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
    ['cores of the machine busy', formatPercent(figures.busyShare)],
    ['  stolen by its host', formatPercent(figures.stolenShare)],
    ['CPU per GiB received', value(figures.cpuSecondsPerGiB, 's')],
    ['  of it', figures.cpuSplit === null ? '-' : formatCpuSplit(figures.cpuSplit)],
    ...formatPhases(figures.cpuPhases),
    ['SHA-256 alone, per GiB', `${figures.hashCpuSecondsPerGiB} s`],
    ['a miss of a core’s cache', `${figures.cacheMissNs} ns`],
    ['peak memory of a process', value(figures.rssMiBMax, 'MiB')],
    ['blobs resumed by clients', String(resumes)],
    ['  of them fetched anew', String(figures.restarts)],
    ['wrong bytes', String(figures.wrongBytes)],
    ['nodes finished', `${figures.nodes - figures.unfinished} of ${figures.nodes}`],
    ...formatFault(figures.fault),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = [`\n${figures.case}`, ...rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`)];
  for (const node of result.nodes) {
    if (!node.isFinished) lines.push(`  ${node.label}: ${node.outcome.bytes} bytes, ${node.outcome.errors.join('; ')}`);
  }
  if (explanation !== undefined) lines.push(...`the slowest, ${explanation}`.split('\n').map((line) => `  ${line}`));
  lines.push(`  ${figures.machine}, commit ${figures.commit}`);
  return lines.join('\n');
}

function formatCpuSplit(split: CpuSplit): string {
  const { main, hashThreads, v8Workers, ioPool, otherThreads, kernel } = split;
  const parts = { main, 'hash threads': hashThreads, 'V8 workers': v8Workers, 'I/O pool': ioPool, other: otherThreads };
  const text = Object.entries(parts).map(([name, seconds]) => `${name} ${seconds.toFixed(2)}`);
  return `${text.join(', ')} s (kernel's share ${kernel.toFixed(2)})`;
}

function roundPhases(phases: CpuPhases): CpuPhases {
  const { receivedFromOrigin, receivedFromPeer, verified, seeded, served, sum } = phases;
  return {
    receivedFromOrigin: round(receivedFromOrigin, 2),
    receivedFromPeer: round(receivedFromPeer, 2),
    verified: round(verified, 2),
    seeded: round(seeded, 2),
    served: round(served, 2),
    sum: round(sum, 2),
  };
}

function formatPhases(phases: CpuPhases | undefined): [string, string][] {
  if (phases === undefined) return [];
  const { receivedFromOrigin, receivedFromPeer, verified, seeded, served, sum } = phases;
  return [
    [
      'CPU per GiB by phase',
      `received ${receivedFromPeer}, verified ${verified}, seeded ${seeded}, served ${served}: ${sum} s`,
    ],
    ['  received from the origin', `${receivedFromOrigin} s`],
  ];
}

function formatFault(fault: FaultFigures | undefined): [string, string][] {
  if (fault === undefined) return [];
  const { cleanSecondsMax, cleanRatio, findings, liars, wrongBans } = fault;
  const mark = (isGood: boolean) => (isGood ? '' : '   <- not as it should be');
  return [
    ...(cleanSecondsMax === null
      ? []
      : [['max / max without the fault', `${cleanRatio} (${cleanSecondsMax} s)`] satisfies [string, string]]),
    ...findings.map(({ what, value, isGood }): [string, string] => [what, `${value}${mark(isGood)}`]),
    ...liars.flatMap((liar): [string, string][] => [
      [
        `liar ${liar.label}`,
        `banned by ${liar.bannedBy} of ${liar.honestNodes}${liar.reasons.map((reason) => ` (${reason})`).join('')}, ` +
          `named in ${liar.loggedBy} logs${mark(liar.bannedBy > 0 && liar.loggedBy >= liar.bannedBy)}`,
      ],
      ...(liar.evidence === undefined ? [] : [['  evidence', liar.evidence] satisfies [string, string]]),
    ]),
    ...wrongBans.map(({ by, banned, reason }): [string, string] => [
      'honest node banned',
      `${banned} by ${by}: ${reason}${mark(false)}`,
    ]),
  ];
}

/** Measures what SHA-256 costs on this machine now: the best of four times 64 MiB through node:crypto, on this thread alone. */
export function measureHashCpuSecondsPerGiB(): number {
  const chunk = Buffer.allocUnsafe(mebibyte);
  randomFillSync(chunk);
  // The layers have just been made: memory is still being given back, by other threads and by page faults of this one.
  return Math.min(...Array.from({ length: hashRounds }, () => hashCpuSeconds(chunk, hashedMiB) * (1024 / hashedMiB)));
}

const hashRounds = 4;
const hashedMiB = 64;

function hashCpuSeconds(chunk: Uint8Array, times: number): number {
  const hash = createHash('sha256');
  const before = threadCpuSeconds();
  for (let count = 0; count < times; count += 1) hash.update(chunk);
  hash.digest();
  return threadCpuSeconds() - before;
}

export function describeMachine(): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() ?? 'unknown CPU';
  return `${processors.length} x ${model}, ${Math.round(totalmem() / gibibyte)} GiB, Linux ${release()}, Node ${process.version}`;
}

/** Text of the commit the figures belong to, marked when the sources differ from it. */
export function describeCommit(): string {
  const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8', cwd: import.meta.dirname }).trim();
  try {
    const dirty = git('status', '--porcelain', '--', ':/src') === '' ? '' : '-dirty';
    return `${git('rev-parse', '--short=12', 'HEAD')}${dirty}`;
  } catch {
    return 'unknown';
  }
}

/** Adds a line to a file of results. */
export function recordResult(path: string, result: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  appendFileSync(path, `${JSON.stringify(result)}\n`);
}
