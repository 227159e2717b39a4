/**
 * `npm run bench:pull`: one node's pulls, cold and warm, direct from the origin, through docker-registry's pull-through mode and
 * through Shoal, in one run. As root on Linux the node and the origin are hosts of their own with a capped link; otherwise all is
 * loopback and the capped case is left out.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { waitUntil } from '../test/support/child.ts';
import { startDockerRegistryProcess } from '../test/support/docker-registry.ts';
import { findFreePorts } from '../test/support/shoal-node.ts';
import { startAgent } from './lab/agent.ts';
import { writeImageFiles } from './lab/image-files.ts';
import { createLabNetwork, labNetworkObstacle } from './lab/network.ts';
import { measureSide, type SideFigures, type SideName, sideNames } from './lab/pull-sides.ts';
import {
  createRandomImage,
  createRandomLayers,
  parseBytes,
  parseLayers,
  type RandomImage,
} from './lab/random-image.ts';
import { describeCommit, describeMachine, measureHashCpuSecondsPerGiB, recordResult } from './lab/report.ts';
import { runBench } from './lab/run-bench.ts';

const usage = `Usage: npm run bench:pull -- [options]
  --layers 1x64MiB+1x16MiB+8x1MiB   the image; the largest layer is read by 1 client, the second largest by 50
  --rate 100MiB                     cap of the link in the capped case
  --cases uncapped,capped           which cases to run
  --sides direct,pull-through,shoal which sides to measure
  --dir PATH                        where data goes (default: the temporary directory)
  --json                            print one line of JSON for each case
  --record FILE                     add the lines of JSON to a file`;

const { values } = parseArgs({
  options: {
    layers: { type: 'string', default: '1x64MiB+1x16MiB+8x1MiB' },
    rate: { type: 'string', default: '100MiB' },
    cases: { type: 'string', default: 'uncapped,capped' },
    sides: { type: 'string', default: sideNames.join(',') },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
    record: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const rows: readonly (readonly [string, (side: SideFigures) => number | null])[] = [
  ['start to ready, s', (side) => side.startToReadySeconds],
  ['idle memory, MiB', (side) => side.idleRssMiB],
  ['peak memory, MiB', (side) => side.peakRssMiB],
  ['cold pull, s', (side) => side.coldSeconds],
  ['cold pull, MiB/s', (side) => side.coldMiBPerSecond],
  ['cold, worst first byte, s', (side) => side.coldTtfbSecondsMax],
  ['cold, CPU-s per GiB', (side) => side.coldCpuSecondsPerGiB],
  ['cold, requests at the origin', (side) => side.coldOriginRequests],
  ['warm pull, s', (side) => side.warmSeconds],
  ['warm, requests at the origin', (side) => side.warmOriginRequests],
  ['warm blob, 1 client, MiB/s', (side) => side.warmMiBPerSecond1],
  ['warm blob, 1 client, CPU-s per GiB', (side) => side.warmCpuSecondsPerGiB1],
  ['warm blob, 50 clients, MiB/s', (side) => side.warmMiBPerSecond50],
  ['warm blob, 50 clients, CPU-s per GiB', (side) => side.warmCpuSecondsPerGiB50],
  ['warm blob, 50 clients, worst first byte, s', (side) => side.warmTtfbSecondsMax50],
  ['HEAD manifest at 500/s, p50 ms', (side) => side.headP50Ms],
  ['HEAD manifest at 500/s, p99 ms', (side) => side.headP99Ms],
  ['wrong bytes', (side) => side.wrongBytes],
];

interface Place extends AsyncDisposable {
  readonly measure: (name: SideName, image: RandomImage) => Promise<SideFigures>;
}

async function startPlace(rateBytesPerSecond: number | undefined): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const directory = mkdtempSync(join(values.dir, 'shoal-bench-pull-'));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const network = labNetworkObstacle() === undefined ? stack.use(await createLabNetwork()) : undefined;
  const originHost = await network?.addHost('origin', rateBytesPerSecond);
  const nodeHost = await network?.addHost('node', rateBytesPerSecond);
  const [port = 0, ...ports] = await findFreePorts(5);
  const origin = stack.use(
    startDockerRegistryProcess({
      directory: join(directory, 'origin'),
      host: originHost === undefined ? '127.0.0.1' : '0.0.0.0',
      port,
      accessLog: true,
      ...(originHost === undefined ? {} : { netns: originHost.netns }),
    }),
  );
  const pusher = stack.use(startAgent('origin', directory, originHost?.netns));
  const agent = stack.use(startAgent('node', directory, nodeHost?.netns));
  const answers = async () => {
    try {
      return (await pusher.send('get', { host: '127.0.0.1', port, path: '/v2/' })).status === 200;
    } catch {
      return false;
    }
  };
  await waitUntil('the origin to answer', answers, { timeoutMs: 20_000, child: origin.child });
  const owned = stack.move();
  return {
    async measure(name, image) {
      const files = writeImageFiles(image, directory);
      await pusher.send('push', { host: '127.0.0.1', port, ...files });
      rmSync(files.directory, { recursive: true });
      return measureSide(
        name,
        {
          directory,
          agent,
          origin,
          originEndpoint: { host: originHost?.address ?? '127.0.0.1', port },
          ports: ports as [number, number, number, number],
          ...(nodeHost === undefined ? {} : { netns: nodeHost.netns }),
        },
        image,
      );
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function formatTable(figures: ReadonlyMap<SideName, SideFigures>): string {
  const names = [...figures.keys()];
  const width = Math.max(...rows.map(([title]) => title.length));
  const lines = [`  ${''.padEnd(width)}${names.map((name) => name.padStart(14)).join('')}`];
  for (const [title, value] of rows) {
    const cells = [...figures.values()].map((side) => String(value(side) ?? '-').padStart(14));
    lines.push(`  ${title.padEnd(width)}${cells.join('')}`);
  }
  const [direct, shoal] = [figures.get('direct'), figures.get('shoal')];
  if (direct !== undefined && shoal !== undefined) {
    const ratio = (left: number, right: number) => (left / right).toFixed(2);
    lines.push(`  cold pull, Shoal / direct: ${ratio(shoal.coldSeconds, direct.coldSeconds)}`);
    lines.push(
      `  warm blob, Shoal / docker-registry: ${ratio(shoal.warmMiBPerSecond1, direct.warmMiBPerSecond1)} with 1 client, ${ratio(shoal.warmMiBPerSecond50, direct.warmMiBPerSecond50)} with 50`,
    );
  }
  for (const [name, side] of figures) for (const failure of side.failures) lines.push(`  ${name}: ${failure}`);
  return lines.join('\n');
}

async function run(): Promise<number> {
  const sides = values.sides.split(',').map((text) => {
    const name = sideNames.find((known) => known === text);
    if (name === undefined) throw new Error(`--sides: ${sideNames.join(', ')}`);
    return name;
  });
  const obstacle = labNetworkObstacle();
  const cases = values.cases.split(',').filter((name) => name === 'uncapped' || obstacle === undefined);
  if (obstacle !== undefined) console.error(`plain loopback, no capped case: ${obstacle}`);
  let isGood = true;
  for (const name of cases) {
    const rate = name === 'capped' ? parseBytes(values.rate) : undefined;
    const hashCpuSecondsPerGiB = measureHashCpuSecondsPerGiB();
    const figures = new Map<SideName, SideFigures>();
    await using place = await startPlace(rate);
    for (const side of sides) {
      // New content for each side, so that none profits from another's pages or blobs.
      const image = createRandomImage(`library/bench-${side}`, 'v1', createRandomLayers(parseLayers(values.layers)));
      figures.set(side, await place.measure(side, image));
    }
    const link = rate === undefined ? 'uncapped link' : `link capped at ${values.rate}/s`;
    const line = {
      case: `${values.layers}, ${link}`,
      sides: Object.fromEntries(figures),
      hashCpuSecondsPerGiB: Number(hashCpuSecondsPerGiB.toFixed(2)),
      machine: describeMachine(),
      commit: describeCommit(),
    };
    if (values.json) console.log(JSON.stringify(line));
    else
      console.log(
        `\n${line.case}\n${formatTable(figures)}\n  SHA-256 alone: ${line.hashCpuSecondsPerGiB} CPU-s per GiB\n  ${line.machine}, commit ${line.commit}`,
      );
    if (values.record !== undefined) recordResult(values.record, line);
    isGood &&= [...figures.values()].every((side) => side.wrongBytes === 0 && side.failures.length === 0);
  }
  return isGood ? 0 : 1;
}

await runBench({ usage, isHelpAsked: values.help, run });
