import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChaosRegistry, startChaosRegistry } from '../support/chaos-registry.ts';
import { type Cell, type FaultRow, faultRows } from '../support/fault-rows.ts';
import { pullByHttp } from '../support/http-pull.ts';
import { type BuiltImage, buildImage } from '../support/image-builder.ts';
import { type ClientName, type CommandOutcome, findLabObstacle, type LabClient } from '../support/lab/client.ts';
import { startClient } from '../support/lab.ts';
import { findFreePorts, formatEndpoint, startNode } from '../support/shoal-node.ts';
import { createTempDir } from '../support/temp-dir.ts';

/** The client x fault matrix: each cell has a fresh origin and fresh nodes; the client only forgets the image. */
const matrixClients = ['docker', 'ctr', 'podman', 'skopeo'] as const;
const repository = 'library/demo';
const image = `${repository}:v1`;
/** Nothing that a client or the node waits for by design takes longer; docker's five waits on a dead blob come nearest. */
const pullTimeoutMs = 110_000;

interface Arrangement extends AsyncDisposable {
  readonly cell: Cell;
}

async function arrange(row: FaultRow, content: BuiltImage): Promise<Arrangement> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(createTempDir('cell'));
  const [port = 0] = await findFreePorts(1);
  let origin: ChaosRegistry | undefined;
  const startOrigin = async () => {
    origin = await startChaosRegistry({ listen: { host: '127.0.0.1', port } });
    origin.put(repository, ['v1'], content);
  };
  const stopOrigin = async () => {
    await origin?.[Symbol.asyncDispose]();
    origin = undefined;
  };
  stack.defer(stopOrigin);
  if (row.isOriginDownAtStart !== true) await startOrigin();

  const common = { origins: { 'docker.io': { url: `http://127.0.0.1:${port}`, insecure: true } } };
  const peer =
    row.peer === undefined
      ? undefined
      : stack.use(await startNode({ ...common, ...row.peer, name: 'peer', directory: join(directory.path, 'peer') }));
  const warm: Cell['warm'] = async (node) => void (await pullByHttp(node.registryUrl, repository, 'v1'));
  if (peer !== undefined) await warm(peer);
  const bootstrap = peer === undefined ? [] : [formatEndpoint(peer.peer)];
  const node = stack.use(
    await startNode({ ...common, name: 'node', directory: join(directory.path, 'node'), bootstrap }),
  );
  const cell: Cell = {
    get origin() {
      if (origin === undefined) throw new Error('the origin is down');
      return origin;
    },
    node,
    peer,
    layer: content.layers[0] ?? '',
    warm,
    startOrigin,
    stopOrigin,
  };
  if (peer !== undefined) await node.seesPeers(1);
  await row.arrange?.(cell);
  const owned = stack.move();
  return { cell, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function pullUnder(row: FaultRow, cell: Cell, client: LabClient): Promise<CommandOutcome> {
  const over = new AbortController();
  const disturbing = row.during?.(cell, over.signal);
  const outcome = await client.pull(image, { timeoutMs: pullTimeoutMs });
  over.abort();
  await disturbing;
  return outcome;
}

for (const name of matrixClients) {
  describe.skipIf(findLabObstacle(name) !== undefined)(`${name} pulls through a node while`, () => {
    const directory = createTempDir(`matrix-${name}`);
    let content: BuiltImage;
    let client: LabClient;

    beforeAll(async () => {
      content = await buildImage({
        seed: 77,
        flavour: 'docker',
        layers: [{ content: 6_000_000 }, { content: 100_000 }],
      });
      client = await startClient(name satisfies ClientName, {
        directory: join(directory.path, name),
        mirror: { host: '127.0.0.1', port: 1, pathPrefix: '/docker.io' },
      });
    });

    afterAll(async () => {
      await client?.[Symbol.asyncDispose]();
      directory[Symbol.dispose]();
    });

    for (const row of faultRows) {
      const expected = typeof row.expected === 'string' ? row.expected : row.expected[name];
      test(`${row.name}: ${expected}`, async () => {
        await using arrangement = await arrange(row, content);
        const { cell } = arrangement;
        await client.useMirror({ ...cell.node.registry, pathPrefix: '/docker.io' });
        await client.remove(image);
        const outcome = await pullUnder(row, cell, client);
        const explained = `${outcome.output}\n--- log of the node\n${cell.node.child().readLog().slice(-3000)}`;
        expect(outcome.hasHung, explained).toBe(false);
        if (expected === 'pulls') expect(outcome.exitCode, explained).toBe(0);
        if (expected === 'fails') expect(outcome.exitCode, explained).not.toBe(0);
        if (expected === 'second try' && outcome.exitCode !== 0) {
          await row.before2nd?.(cell);
          await client.remove(image);
          const again = await client.pull(image, { timeoutMs: pullTimeoutMs });
          expect(again, again.output).toMatchObject({ exitCode: 0, hasHung: false });
        }
      });
    }
  });
}
