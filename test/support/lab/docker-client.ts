import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startChild, waitUntil } from '../child.ts';
import { type Endpoint, formatEndpoint } from '../shoal-node.ts';
import {
  type CommandOutcome,
  findProgram,
  type LabClient,
  type LabClientOptions,
  runCommand,
  unmountBelow,
} from './client.ts';

/** dockerd with its containerd starts in about 5 s on an idle machine. */
const readyTimeoutMs = 60_000;

export interface Dockerd extends AsyncDisposable {
  docker(args: readonly string[], more?: Parameters<typeof runCommand>[2]): Promise<CommandOutcome>;
  useMirror(mirror: Endpoint): Promise<void>;
}

/** Starts a dockerd that touches neither the machine's bridges nor its firewall. */
export async function startDockerd(directory: string, mirror: Endpoint, netns?: string): Promise<Dockerd> {
  mkdirSync(directory, { recursive: true });
  const configPath = join(directory, 'daemon.json');
  const host = `unix://${join(directory, 'docker.sock')}`;
  const program = findProgram('docker') ?? 'docker';
  const docker: Dockerd['docker'] = (args, more = {}) =>
    runCommand(program, ['-H', host, ...args], { ...more, env: { DOCKER_CONFIG: directory, ...more.env } });
  const writeConfig = (target: Endpoint) =>
    writeFileSync(configPath, JSON.stringify({ 'registry-mirrors': [`http://${formatEndpoint(target)}`] }));
  writeConfig(mirror);
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
    ...(netns === undefined ? {} : { netns }),
  });
  await waitUntil('dockerd to answer', async () => (await docker(['version'])).exitCode === 0, {
    timeoutMs: readyTimeoutMs,
    intervalMs: 200,
    child,
  });
  return {
    docker,
    async useMirror(target) {
      writeConfig(target);
      child.kill('SIGHUP');
      const knowsMirror = async () => {
        const info = await docker(['info', '--format', '{{json .RegistryConfig.Mirrors}}']);
        return info.output.includes(formatEndpoint(target));
      };
      await waitUntil('dockerd to know its mirror', knowsMirror, { timeoutMs: 10_000, intervalMs: 50, child });
    },
    async [Symbol.asyncDispose]() {
      await child.stop();
      // A killed dockerd can leave mounts, which would keep the directory from being removed.
      await unmountBelow(directory);
    },
  };
}

/** Starts a docker client with its own dockerd that uses the mirror. */
export async function startDockerClient(options: LabClientOptions): Promise<LabClient> {
  const dockerd = await startDockerd(options.directory, options.mirror);
  return {
    name: 'docker',
    useMirror: (mirror) => dockerd.useMirror(mirror),
    pull: (image, { platform, timeoutMs } = {}) =>
      dockerd.docker(
        ['pull', '-q', ...(platform === undefined ? [] : ['--platform', platform]), image],
        timeoutMs === undefined ? {} : { timeoutMs },
      ),
    run: (image, command) => dockerd.docker(['run', '--rm', '--network', 'none', image, ...command]),
    async remove(image) {
      await dockerd.docker(['image', 'rm', '-f', image]);
    },
    [Symbol.asyncDispose]: () => dockerd[Symbol.asyncDispose](),
  };
}
