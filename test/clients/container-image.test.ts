import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitUntil } from '../support/child.ts';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import { buildImage } from '../support/image-builder.ts';
import { importBaseImages } from '../support/lab/base-images.ts';
import { closedEndpoint, findLabObstacle } from '../support/lab/client.ts';
import { type Dockerd, startDockerd } from '../support/lab/docker-client.ts';
import { startClient } from '../support/lab.ts';
import { pushImage } from '../support/push.ts';
import { answersOk, findFreePorts } from '../support/shoal-node.ts';

const buildTimeoutMs = 500_000;

describe.skipIf(findLabObstacle('origin', 'docker', 'skopeo') !== undefined)('the container image of Shoal', () => {
  const directory = mkdtempSync(join(tmpdir(), 'shoal-image-'));
  let dockerd: Dockerd;
  let origin: DockerRegistry;

  beforeAll(async () => {
    dockerd = await startDockerd(join(directory, 'docker'), closedEndpoint);
    await importBaseImages(dockerd, directory, 'shoal-base', 'shoal-build-base');
    origin = await startDockerRegistry(join(directory, 'origin'));
  });

  afterAll(async () => {
    await dockerd?.[Symbol.asyncDispose]();
    await origin?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const inspect = async (what: string, format: string) =>
    (await dockerd.docker(['inspect', '--format', format, what])).output.trim();

  test('builds without a network, on bases made of Debian packages and the locked Node', async () => {
    const root = join(import.meta.dirname, '..', '..');
    const bases = ['--build-arg', 'BUILD_BASE=shoal-build-base', '--build-arg', 'BASE=shoal-base'];
    const args = ['build', '--network', 'none', ...bases, '--build-arg', 'NPM_FLAGS=--offline', '-t', 'shoal', root];
    const built = await dockerd.docker(args, { timeoutMs: buildTimeoutMs, env: { DOCKER_BUILDKIT: '0' } });
    expect(built.exitCode, built.output.slice(-4000)).toBe(0);
    expect(await inspect('shoal', '{{.Config.User}}')).toBe('65532:65532');
  });

  test('runs as nobody, becomes healthy, serves a pull, and stops when told to', async () => {
    await pushImage(origin.url, 'library/demo', 'one', await buildImage({ seed: 5, layers: [{ content: 300_000 }] }));
    const [registry = 0, admin = 0, peer = 0, bulk = 0] = await findFreePorts(4);
    const settings = {
      SHOAL_REGISTRY_LISTEN: `127.0.0.1:${registry}`,
      SHOAL_ADMIN_LISTEN: `127.0.0.1:${admin}`,
      SHOAL_PEER_LISTEN: `127.0.0.1:${peer}`,
      SHOAL_PEER_BULK_LISTEN: `127.0.0.1:${bulk}`,
      SHOAL_ORIGINS: JSON.stringify({ 'docker.io': { url: origin.url, insecure: true } }),
    };
    const environment = Object.entries(settings).flatMap(([key, value]) => ['-e', `${key}=${value}`]);
    const options = ['-d', '--name', 'node', '--network', 'host', '--read-only', '--health-interval', '2s'];
    const started = await dockerd.docker(['run', ...options, ...environment, 'shoal']);
    expect(started.exitCode, started.output).toBe(0);
    await waitUntil('the container to be ready', () => answersOk(`http://127.0.0.1:${admin}/readyz`), {
      timeoutMs: 30_000,
    });
    await waitUntil(
      'the container to be healthy',
      async () => (await inspect('node', '{{.State.Health.Status}}')) === 'healthy',
      {
        timeoutMs: 30_000,
        intervalMs: 500,
      },
    );

    const mirror = { host: '127.0.0.1', port: registry, pathPrefix: '/docker.io' };
    await using client = await startClient('skopeo', { directory: join(directory, 'skopeo'), mirror });
    const pulled = await client.pull('library/demo:one');
    expect(pulled, pulled.output).toMatchObject({ exitCode: 0, hasHung: false });

    await dockerd.docker(['stop', '-t', '20', 'node']);
    expect(await inspect('node', '{{.State.ExitCode}}')).toBe('0');
  });
});
