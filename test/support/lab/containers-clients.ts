/** podman, buildah and skopeo: one library (containers/image), one registries.conf, mirrors by path prefix. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatEndpoint } from '../shoal-node.ts';
import {
  type CommandOutcome,
  closedEndpoint,
  dockerHub,
  type LabClient,
  type LabClientOptions,
  type Mirror,
  runCommand,
  unmountBelow,
} from './client.ts';

interface ContainersFiles {
  readonly registries: string;
  readonly policy: string;
  write(mirror: Mirror): void;
}

function prepareFiles({ directory, mirror }: LabClientOptions): ContainersFiles {
  mkdirSync(directory, { recursive: true });
  const registries = join(directory, 'registries.conf');
  const policy = join(directory, 'policy.json');
  writeFileSync(policy, JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }));
  const write = (target: Mirror) =>
    writeFileSync(
      registries,
      [
        '[[registry]]',
        `prefix = "${dockerHub}"`,
        `location = "${formatEndpoint(closedEndpoint)}"`,
        'insecure = true',
        '[[registry.mirror]]',
        `location = "${formatEndpoint(target)}${target.pathPrefix}"`,
        'insecure = true',
      ].join('\n'),
    );
  write(mirror);
  return { registries, policy, write };
}

const platformArgs = (platform: string | undefined, separator: '--platform' | '--override') => {
  if (platform === undefined) return [];
  if (separator === '--platform') return ['--platform', platform];
  const [os = '', architecture = ''] = platform.split('/');
  return ['--override-os', os, '--override-arch', architecture];
};

/** podman, or buildah, which takes the same options. */
export async function startPodmanLikeClient(name: 'podman' | 'buildah', options: LabClientOptions): Promise<LabClient> {
  const { directory } = options;
  const files = prepareFiles(options);
  const storage = [
    '--root',
    join(directory, 'root'),
    '--runroot',
    join(directory, 'run'),
    '--storage-driver',
    'overlay',
  ];
  const env = { CONTAINERS_REGISTRIES_CONF: files.registries, TMPDIR: directory };
  const call = (args: readonly string[], timeoutMs?: number) =>
    runCommand(name, [...storage, ...args], { env, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
  const nameOf = (image: string) => `${dockerHub}/${image}`;
  const client: LabClient = {
    name,
    async useMirror(mirror) {
      files.write(mirror);
    },
    pull: (image, { platform, timeoutMs } = {}) =>
      call(
        ['pull', '--signature-policy', files.policy, '-q', ...platformArgs(platform, '--platform'), nameOf(image)],
        timeoutMs,
      ),
    async remove(image) {
      await call(['rmi', '-f', nameOf(image)]);
    },
    async [Symbol.asyncDispose]() {
      await unmountBelow(directory);
    },
  };
  if (name === 'buildah') return client;
  // runc works with every layout of cgroups; limits of its own, because the defaults are above what a sandbox allows.
  const runtime = ['--cgroup-manager', 'cgroupfs', '--runtime', 'runc'];
  const limits = ['--network=none', '--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000'];
  return {
    ...client,
    run: (image, command) => call([...runtime, 'run', '--rm', ...limits, nameOf(image), ...command]),
  };
}

/** skopeo copies to a directory, which is then checked file by file. */
export async function startSkopeoClient(options: LabClientOptions): Promise<LabClient> {
  const files = prepareFiles(options);
  const target = join(options.directory, 'copy');
  const remove = async () => rmSync(target, { recursive: true, force: true });
  return {
    name: 'skopeo',
    async useMirror(mirror) {
      files.write(mirror);
    },
    async pull(image, { platform, timeoutMs } = {}) {
      await remove();
      const outcome = await runCommand(
        'skopeo',
        [
          ...['--registries-conf', files.registries, '--policy', files.policy, ...platformArgs(platform, '--override')],
          ...['copy', '-q', '--src-tls-verify=false', `docker://${dockerHub}/${image}`, `dir:${target}`],
        ],
        timeoutMs === undefined ? {} : { timeoutMs },
      );
      return outcome.exitCode === 0 ? checkCopy(target, outcome) : outcome;
    },
    remove,
    async [Symbol.asyncDispose]() {
      await remove();
    },
  };
}

/** Files of a `dir:` copy are named by the SHA-256 that their bytes must have. */
function checkCopy(directory: string, outcome: CommandOutcome): CommandOutcome {
  const wrong = readdirSync(directory).filter(
    (name) =>
      /^[0-9a-f]{64}$/.test(name) &&
      createHash('sha256')
        .update(readFileSync(join(directory, name)))
        .digest('hex') !== name,
  );
  return wrong.length === 0 ? outcome : { ...outcome, exitCode: 1, output: `wrong bytes in ${wrong.join(', ')}` };
}
