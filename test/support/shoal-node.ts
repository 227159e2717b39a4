/**
 * Real `shoal serve` processes for tests and benches: own data directory, own ports, own log, ended by pid.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { StatusAnswer } from '../../src/admin/api.ts';
import { type Child, startChild, waitUntil } from './child.ts';

export interface ShoalNodeOptions {
  readonly name: string;
  readonly directory: string;
  /** Where this node listens: 127.0.0.1 and free ports in tests, the namespace's address in a lab. */
  readonly registry: Endpoint;
  readonly admin: Endpoint;
  readonly peer: Endpoint;
  readonly bulk: Endpoint;
  readonly bootstrap: readonly string[];
  /** Namespace to origin. */
  readonly origins: Readonly<Record<string, { readonly url: string; readonly insecure?: boolean }>>;
  readonly defaultOrigin: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly netns?: string;
  /** Arguments for Node itself, such as --cpu-prof. */
  readonly nodeArgs?: readonly string[];
  /** Another program that takes the same environment, for nodes that must misbehave. */
  readonly script?: string;
}

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

const repositoryRoot = join(import.meta.dirname, '..', '..');
const fleetSecret = 'shoal-lab-secret-of-one-fleet';

/** The program a node runs: the sources, unless the tests are of what the build made of them. */
const testedProgram = join(repositoryRoot, process.env['TESTED_PROGRAM'] ?? 'src/main.ts');

/** The Node that the project runs on: the locked one where it is installed, else the one that runs this. */
export const nodeProgram = ((): string => {
  const locked = join(repositoryRoot, 'node_modules', '.bin', 'node');
  return existsSync(locked) ? locked : process.execPath;
})();

export const formatEndpoint = ({ host, port }: Endpoint): string => `${host}:${port}`;

/** Starts the process only; a lab waits for readiness from inside the node's network namespace. */
export function startShoalProcess(options: ShoalNodeOptions): Child {
  mkdirSync(options.directory, { recursive: true });
  return startChild({
    name: `shoal ${options.name}`,
    command: nodeProgram,
    args: [...(options.nodeArgs ?? []), options.script ?? testedProgram, 'serve'],
    cwd: options.directory,
    logPath: join(options.directory, 'shoal.log'),
    env: {
      SHOAL_DATA_DIR: join(options.directory, 'data'),
      SHOAL_REGISTRY_LISTEN: formatEndpoint(options.registry),
      SHOAL_ADMIN_LISTEN: formatEndpoint(options.admin),
      SHOAL_PEER_LISTEN: formatEndpoint(options.peer),
      SHOAL_PEER_BULK_LISTEN: formatEndpoint(options.bulk),
      SHOAL_FLEET_SECRET: fleetSecret,
      SHOAL_FLEET_BOOTSTRAP: options.bootstrap.join(','),
      SHOAL_ORIGINS: JSON.stringify(options.origins),
      SHOAL_DEFAULT_ORIGIN: options.defaultOrigin,
      SHOAL_LOG_FORMAT: 'json',
      ...options.env,
    },
    ...(options.netns === undefined ? {} : { netns: options.netns }),
  });
}

/** A running node on loopback. */
export interface ShoalNode extends AsyncDisposable {
  readonly name: string;
  readonly registry: Endpoint;
  readonly registryUrl: string;
  readonly adminUrl: string;
  readonly peer: Endpoint;
  readonly bulk: Endpoint;
  readonly directory: string;
  child(): Child;
  stop(): Promise<void>;
  /** SIGKILL, as a crash or the kernel would. */
  kill(): Promise<void>;
  /** Starts it again on the same ports and data, and waits until it is ready. */
  restart(): Promise<void>;
  /** Waits until so many nodes are connected. */
  seesPeers(count: number): Promise<void>;
}

export interface StartNodeOptions {
  readonly name: string;
  readonly directory: string;
  readonly origins: ShoalNodeOptions['origins'];
  readonly defaultOrigin?: string;
  readonly bootstrap?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const readyTimeoutMs = 30_000;

/** Starts a node on free loopback ports and waits until it says it is ready. */
export async function startNode(options: StartNodeOptions): Promise<ShoalNode> {
  const [registry, admin, peer, bulk] = (await findFreePorts(4)).map((port) => ({ host: '127.0.0.1', port })) as [
    Endpoint,
    Endpoint,
    Endpoint,
    Endpoint,
  ];
  const adminUrl = `http://${formatEndpoint(admin)}`;
  const start = async (): Promise<Child> => {
    const child = startShoalProcess({
      name: options.name,
      directory: options.directory,
      registry,
      admin,
      peer,
      bulk,
      bootstrap: options.bootstrap ?? [],
      origins: options.origins,
      defaultOrigin: options.defaultOrigin ?? 'docker.io',
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    await waitUntil(`${options.name} to be ready`, () => answersOk(`${adminUrl}/readyz`), {
      timeoutMs: readyTimeoutMs,
      child,
    });
    return child;
  };
  let child = await start();
  const stop = () => child.stop();
  return {
    name: options.name,
    registry,
    registryUrl: `http://${formatEndpoint(registry)}`,
    adminUrl,
    peer,
    bulk,
    directory: options.directory,
    child: () => child,
    stop,
    async kill() {
      child.kill('SIGKILL');
      await child.exited;
    },
    async restart() {
      await child.stop();
      child = await start();
    },
    seesPeers: (count) =>
      waitUntil(`${options.name} to see ${count} peers`, async () => (await countPeers(adminUrl)) >= count, {
        timeoutMs: readyTimeoutMs,
        child,
      }),
    [Symbol.asyncDispose]: stop,
  };
}

/** Starts a fleet whose nodes all know the first, and waits until each sees all others. */
export async function startNodes(
  count: number,
  options: Omit<StartNodeOptions, 'name' | 'bootstrap'>,
): Promise<ShoalNode[]> {
  const first = await startNode({ ...options, name: 'node-0', directory: join(options.directory, 'node-0') });
  const bootstrap = [formatEndpoint(first.peer)];
  const others = Array.from({ length: count - 1 }, (_, index) => {
    const name = `node-${index + 1}`;
    return startNode({ ...options, name, directory: join(options.directory, name), bootstrap });
  });
  const nodes = [first, ...(await Promise.all(others))];
  for (const node of nodes) await node.seesPeers(count - 1);
  return nodes;
}

/** Reads how many nodes are connected out of an answer of `GET /api/v1/status`. */
export function readConnectedPeers(body: string): number {
  return (JSON.parse(body) as StatusAnswer).peers.connected;
}

async function countPeers(adminUrl: string): Promise<number> {
  const answer = await fetch(`${adminUrl}/api/v1/status`);
  return answer.ok ? readConnectedPeers(await answer.text()) : 0;
}

/** Tells whether a URL answers 200; a refused connection is a no. */
export async function answersOk(url: string): Promise<boolean> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2000) });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}

/** Finds ports that are free now; held together until all are known, so that they differ. */
export async function findFreePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP server has a port');
    return address.port;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
