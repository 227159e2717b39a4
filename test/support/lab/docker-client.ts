import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startChild, waitUntil } from '../child.ts';
import { formatEndpoint } from '../shoal-node.ts';
import { findProgram, type LabClient, type LabClientOptions, type Mirror, runCommand, runOrThrow } from './client.ts';

/** dockerd with its containerd starts in about 5 s on an idle machine. */
const readyTimeoutMs = 60_000;

/** Starts a dockerd that uses the mirror; it touches neither the machine's bridges nor its firewall. */
export async function startDockerClient(options: LabClientOptions): Promise<LabClient> {
  const { directory } = options;
  mkdirSync(directory, { recursive: true });
  const configPath = join(directory, 'daemon.json');
  const host = `unix://${join(directory, 'docker.sock')}`;
  const docker = findProgram('docker') ?? 'docker';
  const cli = (args: readonly string[], more: Parameters<typeof runCommand>[2] = {}) =>
    runCommand(docker, ['-H', host, ...args], { ...more, env: { DOCKER_CONFIG: directory } });
  const writeConfig = (mirror: Mirror) =>
    writeFileSync(configPath, JSON.stringify({ 'registry-mirrors': [`http://${formatEndpoint(mirror)}`] }));
  writeConfig(options.mirror);
  const child = startChild({
    name: 'dockerd',
    command: findProgram('dockerd') ?? 'dockerd',
    args: [
      ...['--config-file', configPath, '--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')],
      ...['-H', host, '--pidfile', join(directory, 'pid'), '--bridge=none', '--iptables=false', '--ip6tables=false'],
      ...['--storage-driver=overlay2', '--max-concurrent-downloads=3'],
    ],
    logPath: join(directory, 'log'),
    env: { PATH: `/usr/sbin:/usr/bin:${process.env['PATH']}` },
    stopTimeoutMs: 20_000,
  });
  await waitUntil('dockerd to answer', async () => (await cli(['version'])).exitCode === 0, {
    timeoutMs: readyTimeoutMs,
    intervalMs: 200,
    child,
  });
  return {
    name: 'docker',
    async useMirror(mirror) {
      writeConfig(mirror);
      child.kill('SIGHUP');
      await waitUntil(
        'dockerd to know its mirror',
        async () =>
          (await cli(['info', '--format', '{{json .RegistryConfig.Mirrors}}'])).output.includes(formatEndpoint(mirror)),
        { timeoutMs: 10_000, intervalMs: 50, child },
      );
    },
    pull: (image, { platform, timeoutMs } = {}) =>
      cli(
        ['pull', '-q', ...(platform === undefined ? [] : ['--platform', platform]), image],
        timeoutMs === undefined ? {} : { timeoutMs },
      ),
    run: (image, command) => cli(['run', '--rm', '--network', 'none', image, ...command]),
    async remove(image) {
      await cli(['image', 'rm', '-f', image]);
    },
    async [Symbol.asyncDispose]() {
      await child.stop();
      // A killed dockerd can leave mounts, which would keep the directory from being removed.
      await runOrThrow('sh', ['-c', `grep -o '${directory}[^ ]*' /proc/mounts | sort -r | xargs -r umount -l`]);
    },
  };
}
