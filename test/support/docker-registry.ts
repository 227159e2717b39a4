/**
 * Debian's docker-registry as a real origin, or as the pull-through cache Shoal is measured against.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, startChild, waitUntil } from './child.ts';
import { findFreePorts } from './shoal-node.ts';

export interface DockerRegistryOptions {
  readonly directory: string;
  readonly host: string;
  readonly port: number;
  readonly netns?: string;
  /** Serves as a pull-through cache of this registry. */
  readonly proxyOf?: string;
  /** Writes one line per request to the log, so that `countRequests` works; off where a bench must not pay for it. */
  readonly accessLog: boolean;
  /** A bcrypt htpasswd file's text; anonymous when absent. */
  readonly htpasswd?: string;
}

export interface DockerRegistry extends AsyncDisposable {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly child: Child;
  stop(): Promise<void>;
  /** Request lines seen so far, like `GET /v2/x/blobs/sha256:...`; needs `accessLog`. */
  readRequests(): string[];
}

/** Starts a registry; the caller waits for its readiness, since it may listen in another network namespace. */
export function startDockerRegistryProcess(options: DockerRegistryOptions): DockerRegistry {
  mkdirSync(options.directory, { recursive: true });
  const configPath = join(options.directory, 'config.yml');
  const lines = [
    'version: 0.1',
    `log: {level: error, accesslog: {disabled: ${!options.accessLog}}}`,
    `storage: {filesystem: {rootdirectory: ${join(options.directory, 'data')}}, delete: {enabled: true}}`,
    `http: {addr: "${options.host}:${options.port}", secret: shoal-lab}`,
  ];
  if (options.proxyOf !== undefined) lines.push(`proxy: {remoteurl: "${options.proxyOf}", ttl: 24h}`);
  if (options.htpasswd !== undefined) {
    const path = join(options.directory, 'htpasswd');
    writeFileSync(path, options.htpasswd);
    lines.push(`auth: {htpasswd: {realm: lab, path: ${path}}}`);
  }
  writeFileSync(configPath, `${lines.join('\n')}\n`);
  const child = startChild({
    name: options.proxyOf === undefined ? 'docker-registry' : 'docker-registry (pull-through)',
    command: 'docker-registry',
    args: ['serve', configPath],
    logPath: join(options.directory, 'log'),
    // It does nothing at SIGTERM that a lab needs, and waits for keep-alive connections.
    stopTimeoutMs: 500,
    ...(options.netns === undefined ? {} : { netns: options.netns }),
  });
  return {
    url: `http://${options.host}:${options.port}`,
    host: options.host,
    port: options.port,
    child,
    stop: () => child.stop(),
    readRequests() {
      const requests: string[] = [];
      for (const line of readFileSync(child.logPath, 'utf8').split('\n')) {
        const request = /"((?:GET|HEAD|POST|PUT|PATCH|DELETE) \S+) HTTP\/1\.[01]"/.exec(line)?.[1];
        if (request !== undefined) requests.push(request);
      }
      return requests;
    },
    [Symbol.asyncDispose]: () => child.stop(),
  };
}

/** Starts a registry on a free loopback port and waits until it answers. */
export async function startDockerRegistry(
  directory: string,
  options: Partial<Pick<DockerRegistryOptions, 'port' | 'proxyOf' | 'accessLog' | 'htpasswd'>> = {},
): Promise<DockerRegistry> {
  const port = options.port ?? ((await findFreePorts(1))[0] as number);
  const registry = startDockerRegistryProcess({ accessLog: true, ...options, directory, host: '127.0.0.1', port });
  await waitUntil(
    'docker-registry to answer',
    async () => {
      try {
        const answer = await fetch(`${registry.url}/v2/`);
        return answer.status === 200 || answer.status === 401;
      } catch {
        return false;
      }
    },
    { timeoutMs: 20_000, child: registry.child },
  );
  return registry;
}
