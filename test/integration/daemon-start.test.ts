import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type EmbeddedOrigin, startEmbeddedOrigin } from '../../src/cli/demo/embedded-origin.ts';
import { generateImage } from '../../src/cli/demo/generated-image.ts';
import { pullAsClient } from '../../src/cli/demo/registry-client.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { silentLogger } from '../../src/lib/logger.ts';

const MiB = 2 ** 20;
const signal = () => AbortSignal.timeout(60_000);

let directory: string;
let cleanup: AsyncDisposableStack;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'shoal-daemon-'));
  cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
});
afterEach(() => cleanup.disposeAsync());

async function start(flags: Record<string, string> = {}, name = 'node'): Promise<Daemon> {
  const { config } = loadConfig({
    path: await emptyFile(),
    env: {},
    flags: {
      dataDir: join(directory, name),
      'registry.listen': '127.0.0.1:0',
      'admin.listen': '127.0.0.1:0',
      'peer.listen': '127.0.0.1:0',
      'peer.bulkListen': '127.0.0.1:0',
      ...flags,
    },
  });
  const daemon = await startDaemon(config, { logger: silentLogger, version: '0.0.0-test' });
  cleanup.use(daemon);
  return daemon;
}

/** So that no file of the machine's own is read. */
async function emptyFile(): Promise<string> {
  const path = join(directory, 'empty.yaml');
  await writeFile(path, '');
  return path;
}

async function startOrigin(): Promise<EmbeddedOrigin> {
  const origin = cleanup.use(await startEmbeddedOrigin());
  const { image } = generateImage({ sizeBytes: 8 * MiB, architectures: ['amd64'], seed: 7 });
  origin.put('demo/app', ['latest'], image);
  return origin;
}

const fleetFlags = (origin: EmbeddedOrigin, bootstrap: readonly string[] = []) => ({
  origins: JSON.stringify({ [origin.host]: { url: origin.url } }),
  'fleet.secret': 'a secret of this test alone',
  'fleet.bootstrap': bootstrap.join(','),
});

const pull = (daemon: Daemon, origin: EmbeddedOrigin) =>
  pullAsClient(
    {
      node: 'node',
      registry: daemon.addresses.registry,
      namespace: origin.host,
      repository: 'demo/app',
      tag: 'latest',
      architecture: 'amd64',
    },
    signal(),
  );

async function readJson<Answer>(daemon: Daemon, path: string): Promise<Answer> {
  const answer = await fetch(`http://${daemon.addresses.admin}${path}`);
  return (await answer.json()) as Answer;
}

async function eventually(what: string, probe: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await probe())) {
    if (performance.now() > deadline) throw new Error(`timed out waiting until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const countBlobs = async (daemon: Daemon) => {
  const status = await readJson<{ store: { blobs: number } }>(daemon, '/api/v1/status');
  return status.store.blobs;
};

const connectedPeers = async (daemon: Daemon) => {
  const { peers } = await readJson<{ peers: { isConnected: boolean }[] }>(daemon, '/api/v1/peers');
  return peers.filter((peer) => peer.isConnected).length;
};

describe('a daemon', () => {
  test('pulls through, says it is ready, and starts again on the same data without the origin', async () => {
    const origin = await startOrigin();
    const first = await start(fleetFlags(origin));
    expect((await pull(first, origin)).blobList).toHaveLength(8);
    expect(await readJson(first, '/readyz')).toMatchObject({ isReady: true });
    expect(await readJson(first, '/api/v1/status')).toMatchObject({ peer: first.peerId, version: '0.0.0-test' });
    // Seven layers, a config, a manifest and an index.
    await eventually('all of it is stored', async () => (await countBlobs(first)) === 10);
    await first.stop();
    await expect(fetch(`http://${first.addresses.registry}/v2/`)).rejects.toThrow();

    origin.resetCounters();
    const second = await start(fleetFlags(origin));
    expect(second.peerId).toBe(first.peerId);
    await pull(second, origin);
    expect(origin.counters.blobBodyBytes).toBe(0);
  });

  test('tells the fleet at its start what it holds, so that another node needs no origin', async () => {
    const origin = await startOrigin();
    const first = await start(fleetFlags(origin), 'first');
    await pull(first, origin);
    await eventually('all of it is stored', async () => (await countBlobs(first)) === 10);
    await first.stop();

    const again = await start(fleetFlags(origin), 'first');
    const other = await start(fleetFlags(origin, again.peerAddresses), 'other');
    await eventually('both nodes are connected', async () => (await connectedPeers(other)) === 1);
    // Ten blobs, and a digest that stands for the tag.
    await eventually('the blobs and the tag are announced', async () =>
      /^shoal_discovery_announced_digests 11$/m.test(await again.metrics.text()),
    );
    await origin[Symbol.asyncDispose]();
    const pulled = await pull(other, origin);
    expect(pulled.blobList).toHaveLength(8);
    const { transfers } = await readJson<{ transfers: { bytes: { origin: number; peer: number } }[] }>(
      other,
      '/api/v1/transfers',
    );
    expect(transfers.reduce((sum, { bytes }) => sum + bytes.origin, 0)).toBe(0);
    expect(transfers.reduce((sum, { bytes }) => sum + bytes.peer, 0)).toBeGreaterThan(8 * MiB);
  });

  test.each(['registry.listen', 'admin.listen', 'peer.listen', 'peer.bulkListen'])(
    'whose %s is taken says which key to change and leaves nothing behind',
    async (key) => {
      const taken = createServer().listen(0, '127.0.0.1');
      cleanup.defer(() => void taken.close());
      await once(taken, 'listening');
      const address = taken.address();
      const port = typeof address === 'object' ? address?.port : 0;
      await expect(start({ [key]: `127.0.0.1:${port}` })).rejects.toMatchObject({
        code: 'DAEMON_PORT_TAKEN',
        details: { key, address: `127.0.0.1:${port}` },
      });
      // The lock is free again: the same data directory serves the next start.
      await start();
    },
  );

  test('refuses an address that is not of this machine', async () => {
    await expect(start({ 'registry.listen': '192.0.2.1:5000' })).rejects.toMatchObject({
      code: 'DAEMON_ADDRESS_REFUSED',
      details: { key: 'registry.listen' },
    });
  });

  test('refuses a data directory in use', async () => {
    await start();
    await expect(start()).rejects.toMatchObject({ code: 'STORE_LOCKED' });
  });

  test('refuses a fleet secret that is missing or too short', async () => {
    const path = join(directory, 'secret');
    await expect(start({ 'fleet.secretFile': path })).rejects.toMatchObject({ code: 'DAEMON_SECRET_UNREADABLE' });
    await writeFile(path, 'short\n');
    await expect(start({ 'fleet.secretFile': path })).rejects.toMatchObject({ code: 'DAEMON_SECRET_UNREADABLE' });
    await expect(readdir(join(directory, 'node'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('without a fleet secret binds its peer ports to loopback, whatever was asked for, and says so', async () => {
    const daemon = await start({ 'peer.listen': '0.0.0.0:0', 'peer.bulkListen': '0.0.0.0:0' });
    expect(daemon.isLoopbackOnly).toBe(true);
    expect(daemon.addresses.bulk).toMatch(/^127\.0\.0\.1:/);
    for (const address of daemon.peerAddresses) expect(address).toMatch(/^\/ip4\/127\.0\.0\.1\//);
    const { conditions } = await readJson<{ conditions: { code: string }[] }>(daemon, '/readyz');
    expect(conditions.map(({ code }) => code)).toContain('PEER_LOOPBACK_ONLY');
  });

  test('of another fleet is not let in', async () => {
    const origin = await startOrigin();
    const one = await start(fleetFlags(origin), 'one');
    const stranger = await start(
      { ...fleetFlags(origin, one.peerAddresses), 'fleet.secret': 'the secret of somebody else' },
      'stranger',
    );
    const friend = await start(fleetFlags(origin, one.peerAddresses), 'friend');
    await eventually('the friend has joined', async () => (await connectedPeers(friend)) === 1);
    expect(await connectedPeers(one)).toBe(1);
    expect(await connectedPeers(stranger)).toBe(0);
  });
});
