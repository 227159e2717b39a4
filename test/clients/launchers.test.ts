import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import { buildImage } from '../support/image-builder.ts';
import { findLabObstacle } from '../support/lab/client.ts';
import { clientNames, startClient } from '../support/lab.ts';
import { pushImage } from '../support/push.ts';

// Without Shoal: what the other tests of this folder build on works on this machine.
describe.skipIf(findLabObstacle('origin') !== undefined)('the lab itself', () => {
  const directory = mkdtempSync(join(tmpdir(), 'shoal-lab-'));
  let registry: DockerRegistry;

  beforeAll(async () => {
    registry = await startDockerRegistry(join(directory, 'registry'));
    const image = await buildImage({ seed: 1, flavour: 'docker', layers: [{ content: 1000 }, { content: 200_000 }] });
    await pushImage(registry.url, 'library/demo', 'one', image);
  });

  afterAll(async () => {
    await registry?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  for (const name of clientNames) {
    test.skipIf(findLabObstacle(name) !== undefined)(`${name} pulls from docker-registry as its mirror`, async () => {
      const mirror = { host: registry.host, port: registry.port, pathPrefix: '' };
      await using client = await startClient(name, { directory: join(directory, name), mirror });
      const before = registry.readRequests().length;
      const pulled = await client.pull('library/demo:one');
      expect(pulled, pulled.output).toMatchObject({ exitCode: 0, hasHung: false });
      expect(
        registry
          .readRequests()
          .slice(before)
          .filter((line) => line.includes('/blobs/')).length,
      ).toBe(3);
      const absent = await client.pull('library/demo:absent');
      expect(absent.exitCode, absent.output).not.toBe(0);
    });
  }
});
