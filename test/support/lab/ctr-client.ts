import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startChild, waitUntil } from '../child.ts';
import { formatEndpoint } from '../shoal-node.ts';
import {
  closedEndpoint,
  dockerHub,
  type LabClient,
  type LabClientOptions,
  type Mirror,
  runCommand,
  unmountBelow,
} from './client.ts';

/** Starts a containerd and pulls with ctr through hosts.toml, as CRI does; requests carry `?ns=docker.io`. */
export async function startCtrClient(options: LabClientOptions): Promise<LabClient> {
  const { directory } = options;
  const hostsDirectory = join(directory, 'certs.d');
  const socket = join(directory, 'containerd.sock');
  mkdirSync(join(hostsDirectory, dockerHub), { recursive: true });
  const configPath = join(directory, 'config.toml');
  const unused = ['aufs', 'btrfs', 'zfs', 'devmapper'].map((name) => `"io.containerd.snapshotter.v1.${name}"`);
  writeFileSync(
    configPath,
    [
      'version = 2',
      `root = "${join(directory, 'root')}"`,
      `state = "${join(directory, 'state')}"`,
      `disabled_plugins = [${unused.join(', ')}, "io.containerd.grpc.v1.cri"]`,
      `[grpc]\n  address = "${socket}"`,
      `[ttrpc]\n  address = "${socket}.ttrpc"`,
    ].join('\n'),
  );
  const writeHosts = (mirror: Mirror) =>
    writeFileSync(
      join(hostsDirectory, dockerHub, 'hosts.toml'),
      [
        `server = "http://${formatEndpoint(closedEndpoint)}"`,
        `[host."http://${formatEndpoint(mirror)}"]`,
        '  capabilities = ["pull", "resolve"]',
      ].join('\n'),
    );
  writeHosts(options.mirror);
  const child = startChild({
    name: 'containerd',
    command: 'containerd',
    args: ['-c', configPath],
    logPath: join(directory, 'log'),
  });
  const ctr = (args: readonly string[], timeoutMs?: number) =>
    runCommand('ctr', ['-a', socket, '-n', 'lab', ...args], timeoutMs === undefined ? {} : { timeoutMs });
  await waitUntil('containerd to answer', async () => (await ctr(['version'])).exitCode === 0, {
    timeoutMs: 30_000,
    intervalMs: 100,
    child,
  });
  const nameOf = (image: string) => `${dockerHub}/${image}`;
  let runs = 0;
  return {
    name: 'ctr',
    async useMirror(mirror) {
      writeHosts(mirror);
    },
    pull: (image, { platform, timeoutMs, isArtifact } = {}) =>
      ctr(
        [
          ...(isArtifact === true ? ['content', 'fetch'] : ['images', 'pull', '--snapshotter', 'overlayfs']),
          ...['--hosts-dir', hostsDirectory],
          ...(platform === undefined ? [] : ['--platform', platform]),
          nameOf(image),
        ],
        timeoutMs,
      ),
    run(image, command) {
      runs += 1;
      return ctr(['run', '--rm', '--snapshotter', 'overlayfs', nameOf(image), `lab-${runs}`, ...command]);
    },
    async remove(image) {
      await ctr(['images', 'rm', nameOf(image)]);
      // Content and broken downloads stay until the next collection, and the next pull would go on with them; ending a lease
      // with --sync is what makes containerd collect at once.
      await ctr(['leases', 'create', '--id', 'collect-now']);
      await ctr(['leases', 'delete', '--sync', 'collect-now']);
    },
    async [Symbol.asyncDispose]() {
      await child.stop();
      await unmountBelow(directory);
    },
  };
}
