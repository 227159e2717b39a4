import type { TransfersAnswer } from '../../admin/api.ts';
import { delay, systemClock } from '../../lib/clock.ts';
import { bytesText, spanText } from '../../lib/units.ts';
import type { Transfer } from '../../swarm/swarm.ts';
import { createAdminClient } from '../client/admin-client.ts';
import type { CommandIo } from '../command.ts';
import { Progress, type ProgressRow } from '../output/progress.ts';
import { shortDigest } from '../output/units.ts';
import { clientHints } from '../output/welcome.ts';
import { startEmbeddedOrigin } from './embedded-origin.ts';
import { type DemoFleet, startDemoFleet } from './fleet.ts';
import { generateImage } from './generated-image.ts';
import { pullAsClient } from './registry-client.ts';
import { type DemoReport, formatReport, reportJson } from './report.ts';

export interface DemoOptions {
  readonly nodes: number;
  readonly sizeBytes: number;
  readonly isKept: boolean;
  readonly isJson: boolean;
}

const repository = 'demo/app';
const tag = 'latest';
const architectures = ['amd64', 'arm64'];
// Any number does: it makes the digests of the demo the same on every machine.
const imageSeed = 2026;
const pollMs = 100;

/** Runs the demo from beginning to end; what it started is gone when it returns, whatever happened. */
export async function runDemo(options: DemoOptions, io: CommandIo): Promise<void> {
  const signal = io.interrupted();
  const say = (text: string) => {
    if (!options.isJson) io.stdout.write(`${text}\n`);
  };
  const generated = generateImage({ sizeBytes: options.sizeBytes, architectures, seed: imageSeed });
  await using origin = await startEmbeddedOrigin();
  origin.put(repository, [tag], generated.image);
  say(
    `origin    ${origin.url}, image ${repository}:${tag}, ${architectures.length} architectures of ${bytesText(options.sizeBytes)}`,
  );

  await using fleet = await startDemoFleet({ size: options.nodes, origin }, signal);
  for (const node of fleet.nodes)
    say(`${node.name.padEnd(9)} http://${node.registry}, ready after ${spanText(node.startMs)}`);
  say('');

  const report = await pullOnAll(options, io, fleet, origin.host, signal);
  const finished: DemoReport = { ...report, originBytes: origin.counters.blobBodyBytes };
  if (options.isJson) io.stdout.write(`${JSON.stringify(reportJson(finished))}\n`);
  else say(`\n${formatReport(finished, io.stdout.isTTY === true)}`);

  if (!options.isKept) return;
  const [first] = fleet.nodes;
  say(`\nThe fleet keeps running until Ctrl-C. Its data and logs are in ${fleet.directory}`);
  for (const node of fleet.nodes) say(`  ${node.name}: mirror http://${node.registry}, admin http://${node.admin}`);
  if (first !== undefined) {
    say(`\nTry: docker pull ${first.registry}/${repository}:${tag}\n     shoal status --admin ${first.admin}\n`);
    say(clientHints(first.registry, origin.host));
  }
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  say('\nstopping');
}

async function pullOnAll(
  options: DemoOptions,
  io: CommandIo,
  fleet: DemoFleet,
  namespace: string,
  signal: AbortSignal,
): Promise<Omit<DemoReport, 'originBytes'>> {
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const startedAtMs = systemClock.nowMs();
  const watching = new AbortController();
  const pulls = Promise.all(
    fleet.nodes.map((node) =>
      pullAsClient({ node: node.name, registry: node.registry, namespace, repository, tag, architecture }, signal),
    ),
  ).finally(() => watching.abort());
  const progress = new Progress({
    stream: options.isJson ? { write: () => {} } : io.stdout,
    isTty: io.stdout.isTTY === true && !options.isJson,
    nowMs: () => systemClock.nowMs(),
  });
  const watched = watch(fleet, progress, AbortSignal.any([signal, watching.signal]));
  // The watcher is awaited whatever the pulls do, so that nothing draws after the report.
  const [pulled] = await Promise.allSettled([pulls, watched]);
  if (pulled.status === 'rejected') throw pulled.reason;
  const durationMs = systemClock.nowMs() - startedAtMs;

  const transfers = await readTransfers(fleet, signal);
  progress.update(rowsOf(fleet, transfers));
  progress.finish();
  return {
    layers: pulled.value[0]?.blobList ?? [],
    durationMs,
    nodes: fleet.nodes.map((node, at) => ({
      name: node.name,
      peer: node.peer,
      durationMs: pulled.value[at]?.durationMs ?? 0,
      transfers: transfers[at] ?? [],
    })),
  };
}

async function watch(fleet: DemoFleet, progress: Progress, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    progress.update(rowsOf(fleet, await readTransfers(fleet, signal)));
    await delay(systemClock, pollMs, signal);
  }
}

function readTransfers(fleet: DemoFleet, signal: AbortSignal): Promise<(readonly Transfer[])[]> {
  return Promise.all(
    fleet.nodes.map(async (node) => {
      const answer = await createAdminClient({ address: node.admin, token: undefined }).get<TransfersAnswer>(
        '/api/v1/transfers',
        signal,
      );
      return answer.transfers;
    }),
  );
}

function rowsOf(fleet: DemoFleet, transfers: readonly (readonly Transfer[])[]): readonly ProgressRow[] {
  return fleet.nodes.flatMap((node, at) =>
    (transfers[at] ?? [])
      .toSorted((left, right) => right.sizeBytes - left.sizeBytes)
      .map((transfer) => ({
        label: `${node.name}  ${shortDigest(transfer.digest)}`,
        totalBytes: transfer.sizeBytes,
        bytes: transfer.bytes,
        state: transfer.state,
      })),
  );
}
