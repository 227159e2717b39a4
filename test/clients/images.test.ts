import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import type { BuiltImage } from '../support/image-builder.ts';
import { imageKinds } from '../support/image-kinds.ts';
import { type ClientName, findLabObstacle, type LabClient } from '../support/lab/client.ts';
import { clientNames, startClient } from '../support/lab.ts';
import { pushImage } from '../support/push.ts';
import { type ShoalNode, startNodes } from '../support/shoal-node.ts';

/**
 * The main job with real programs: an image pushed to docker-registry is pulled through node 0; then the origin stops, and every
 * client gets it through node 1 by tag and through node 2 by digest, which only their peers can have given them.
 */
const seeder = 'skopeo';

describe.skipIf(findLabObstacle('origin', seeder) !== undefined)('every client pulls every kind of image', () => {
  const directory = mkdtempSync(join(tmpdir(), 'shoal-images-'));
  const images = new Map<string, BuiltImage>();
  let origin: DockerRegistry;
  let nodes: ShoalNode[] = [];

  const mirrorOf = (node: ShoalNode | undefined) => {
    if (node === undefined) throw new Error('the fleet has not started');
    return { ...node.registry, pathPrefix: '/docker.io' };
  };

  const clients = new Map<ClientName, LabClient>();
  const clientOf = async (name: ClientName): Promise<LabClient> => {
    const running = clients.get(name);
    if (running !== undefined) return running;
    const started = await startClient(name, { directory: join(directory, name), mirror: mirrorOf(nodes[1]) });
    clients.set(name, started);
    return started;
  };

  beforeAll(async () => {
    origin = await startDockerRegistry(join(directory, 'origin'));
    for (const [index, kind] of imageKinds.entries()) {
      const image = await kind.build(1000 + index * 10);
      images.set(kind.name, image);
      await pushImage(origin.url, `library/${kind.name}`, 'v1', image);
    }
    nodes = await startNodes(3, { directory, origins: { 'docker.io': { url: origin.url, insecure: true } } });
  });

  afterAll(async () => {
    for (const client of clients.values()) await client[Symbol.asyncDispose]();
    await Promise.all(nodes.map((node) => node.stop()));
    await origin?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  describe('while the origin answers', () => {
    for (const kind of imageKinds) {
      test(`${kind.name} arrives through node 0`, async () => {
        const name = kind.clients.includes('docker') && findLabObstacle('docker') === undefined ? 'docker' : seeder;
        await using client = await startClient(name, {
          directory: join(directory, `seed-${kind.name}`),
          mirror: mirrorOf(nodes[0]),
        });
        const pulled = await client.pull(`library/${kind.name}:v1`, { isArtifact: kind.isArtifact === true });
        expect(pulled, pulled.output).toMatchObject({ exitCode: 0, hasHung: false });
      });
    }
  });

  describe('with the origin stopped', () => {
    test('the origin is gone', async () => {
      await origin.stop();
      await expect(fetch(origin.url)).rejects.toThrow();
    });

    for (const name of clientNames) {
      describe.skipIf(findLabObstacle(name) !== undefined)(name, () => {
        for (const kind of imageKinds.filter(({ clients }) => clients.includes(name))) {
          const isArtifact = kind.isArtifact === true;
          test(`pulls ${kind.name} by tag through node 1 and by digest through node 2`, async () => {
            const client = await clientOf(name);
            await client.useMirror(mirrorOf(nodes[1]));
            const tagged = `library/${kind.name}:v1`;
            const byTag = await client.pull(tagged, { isArtifact });
            expect(byTag, byTag.output).toMatchObject({ exitCode: 0, hasHung: false });
            if (kind.isRunnable && client.run !== undefined) {
              const ran = await client.run(tagged, ['/bin/sh', '-c', 'echo ran well']);
              expect(ran, ran.output).toMatchObject({
                exitCode: 0,
                output: expect.stringContaining('ran well') as unknown,
              });
            }
            await client.remove(tagged);

            await client.useMirror(mirrorOf(nodes[2]));
            const exact = `library/${kind.name}@${images.get(kind.name)?.digest}`;
            const byDigest = await client.pull(exact, { isArtifact });
            expect(byDigest, byDigest.output).toMatchObject({ exitCode: 0, hasHung: false });
            await client.remove(exact);
          });
        }
      });
    }
  });
});
