/**
 * Real container clients, each with its own directories and sockets, pulling `docker.io/...` through a mirror on loopback.
 * Where the mirror fails they have nowhere else to go: their other endpoint is a closed port, so an outcome is the mirror's.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Endpoint } from '../shoal-node.ts';

export type ClientName = 'docker' | 'ctr' | 'podman' | 'skopeo' | 'buildah';

export interface Mirror extends Endpoint {
  /** Put before the repository by clients that know path prefixes only; a plain registry has none. */
  readonly pathPrefix: string;
}

export interface LabClient extends AsyncDisposable {
  readonly name: ClientName;
  /** Points the client at another mirror. */
  useMirror(mirror: Mirror): Promise<void>;
  /** Pulls `library/x:tag` or `library/x@digest` of docker.io. */
  pull(image: string, options?: PullOptions): Promise<CommandOutcome>;
  /** Runs a command in a container of a pulled image, without a network; absent where the client has no containers. */
  run?(image: string, command: readonly string[]): Promise<CommandOutcome>;
  /** Forgets an image, so that the next pull asks for everything again. */
  remove(image: string): Promise<void>;
}

export interface PullOptions {
  readonly platform?: string;
  readonly timeoutMs?: number;
  /** The thing is an artifact: fetch it without unpacking, where the client can. */
  readonly isArtifact?: boolean;
}

export interface LabClientOptions {
  readonly directory: string;
  readonly mirror: Mirror;
}

export interface CommandOutcome {
  readonly exitCode: number;
  readonly output: string;
  readonly seconds: number;
  /** It was still running at the limit and has been killed. */
  readonly hasHung: boolean;
}

/** Longer than any back-off of a client here (podman waits 31 s on 429): what runs longer hangs. */
const commandTimeoutMs = 90_000;

/** A port on which nothing listens: connections are refused at once. */
export const closedEndpoint: Endpoint = { host: '127.0.0.1', port: 1 };

export const dockerHub = 'docker.io';

/** Runs a command to its end; a failure is an outcome, not an error. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly timeoutMs?: number } = {},
): Promise<CommandOutcome> {
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const env = { ...process.env, ...options.env };
    const timeout = options.timeoutMs ?? commandTimeoutMs;
    execFile(command, args, { env, timeout, killSignal: 'SIGKILL', maxBuffer: 16 << 20 }, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : typeof error.code === 'number' ? error.code : 255;
      const output = `${stdout}${stderr}${exitCode === 255 && error !== null ? error.message : ''}`;
      resolve({ exitCode, output, seconds: (performance.now() - startedAt) / 1000, hasHung: error?.killed === true });
    });
  });
}

/** Removes the mounts that a client has left below its directory. */
export async function unmountBelow(directory: string): Promise<void> {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${directory}/`));
  for (const path of mounts.reverse()) await runCommand('umount', ['-l', path]);
}

/** Finds a program on the path, or in Debian's directories for daemons. */
export function findProgram(name: string): string | undefined {
  const directories = ['/usr/bin', '/usr/sbin', ...(process.env['PATH'] ?? '').split(delimiter)];
  for (const directory of directories) {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return join(directory, name);
    } catch {
      // The next directory may have it.
    }
  }
  return undefined;
}

const programsOf: Readonly<Record<ClientName | 'origin', readonly string[]>> = {
  origin: ['docker-registry'],
  docker: ['dockerd', 'docker', 'containerd', 'runc'],
  ctr: ['containerd', 'ctr'],
  podman: ['podman', 'runc'],
  skopeo: ['skopeo'],
  buildah: ['buildah'],
};

/**
 * Says why a test with real programs cannot run here, loudly; undefined when it can. On CI it never gives a reason: there a
 * missing program must fail the test, not hide it.
 */
export function findLabObstacle(...needed: readonly (ClientName | 'origin')[]): string | undefined {
  const missing = needed.flatMap((name) => programsOf[name]).filter((program) => findProgram(program) === undefined);
  const reasons = missing.length > 0 ? [`missing: ${missing.join(', ')}`] : [];
  if (process.platform !== 'linux' || process.getuid?.() !== 0) reasons.push('needs root on Linux');
  if (reasons.length === 0 || process.env['CI'] === 'true') return undefined;
  const reason = reasons.join('; ');
  process.stderr.write(
    `\nSKIPPED tests with real clients (${needed.join(', ')}): ${reason}. See CONTRIBUTING.md for the packages.\n`,
  );
  return reason;
}
