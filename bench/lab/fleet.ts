/**
 * A fleet in a lab network: one origin, nodes with a daemon (or none) and an agent each, all behind capped links.
 * `startFleet` returns once every node is ready and sees every other; nothing is timed before that.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, waitUntil } from '../../test/support/child.ts';
import { type DockerRegistry, startDockerRegistryProcess } from '../../test/support/docker-registry.ts';
import { type Dockerd, startDockerd } from '../../test/support/lab/docker-client.ts';
import { readConnectedPeers, startShoalProcess } from '../../test/support/shoal-node.ts';
import { adminPort } from './admin.ts';
import { type Agent, startAgent } from './agent.ts';
import { type ChaosOrigin, type OriginRule, startChaosOrigin } from './chaos-origin.ts';
import { writeImageFiles } from './image-files.ts';
import { createLabNetwork, type LabHost, type LabNetwork } from './network.ts';
import type { RandomImage } from './random-image.ts';

const repositoryRoot = join(import.meta.dirname, '..', '..');

export type FleetMode = 'shoal' | 'direct' | 'pull-through';

export interface FleetOptions {
  readonly mode: FleetMode;
  readonly nodes: number;
  readonly rateBytesPerSecond: number | undefined;
  /** The rate of the origin's link; the nodes' when absent. */
  readonly originRateBytesPerSecond?: number | undefined;
  /** tmpfs by default: a real fleet has a disk per node, and one shared disk's fsync would drown what is measured. */
  readonly directory: string;
  /** `docker` gives every node a dockerd of its own, beside the agent. */
  readonly client: 'http' | 'docker';
  /** Index of the node that writes a CPU profile at its end. */
  readonly profileNode?: number;
  /** What a fault needs to be different in one node's process. */
  readonly nodeChanges?: (index: number) => {
    readonly script?: string;
    readonly env?: Readonly<Record<string, string>>;
  };
  /** Faults of the origin; docker-registry gives way to an origin that follows them. */
  readonly originRules?: readonly OriginRule[];
}

export interface FleetNode {
  readonly index: number;
  readonly host: LabHost;
  readonly agent: Agent;
  /** The daemon; absent in the modes that have none. */
  readonly daemon?: Child;
  /** Pulls in the agent's place. */
  readonly docker?: Dockerd;
  /** Where this node's client pulls. */
  readonly pullFrom: { readonly host: string; readonly port: number };
}

export interface Fleet extends AsyncDisposable {
  readonly options: FleetOptions;
  readonly network: LabNetwork;
  readonly directory: string;
  readonly origin: {
    readonly host: LabHost;
    readonly agent: Agent;
    /** SIGKILL, as a crash or the kernel would; `startOrigin` brings it back with all it held. */
    kill(): Promise<void>;
    /** How often a rule of `originRules` was applied. */
    countHits(): Promise<number>;
  };
  readonly nodes: readonly FleetNode[];
  /** Processes whose CPU and memory the figures count: the daemons, or the pull-through cache. */
  readonly measured: readonly Child[];
  pushImage(image: RandomImage): Promise<void>;
  startOrigin(): Promise<void>;
}

const registryPort = 5000;
const peerPort = 5002;
const bulkPort = 5003;
/** A cold start of 32 Node processes on two cores takes its time. */
const readyTimeoutMs = 120_000;

/** Starts everything and waits for readiness and the full mesh. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  await using stack = new AsyncDisposableStack();
  const directory = mkdtempSync(join(options.directory, 'shoal-bench-'));
  const removeDirectory = () => rmSync(directory, { recursive: true, force: true });
  process.on('exit', removeDirectory);
  stack.defer(() => {
    process.off('exit', removeDirectory);
    removeDirectory();
  });
  const network = stack.use(await createLabNetwork());

  const originHost = await network.addHost('origin', options.originRateBytesPerSecond ?? options.rateBytesPerSecond);
  const originAgent = stack.use(startAgent('origin', directory, originHost.netns));
  const place = { directory: join(directory, 'origin'), port: registryPort, netns: originHost.netns };
  mkdirSync(place.directory);
  const { originRules } = options;
  let chaos: ChaosOrigin | undefined;
  let originChild: Child | undefined;
  const startOrigin = async () => {
    await originChild?.stop();
    if (originRules !== undefined) {
      chaos = startChaosOrigin({ ...place, rules: originRules });
      originChild = chaos.child;
    } else {
      originChild = startDockerRegistryProcess({ ...place, host: '0.0.0.0', accessLog: false }).child;
    }
    await waitForAnswer(originAgent, '/v2/', registryPort, originChild);
  };
  stack.defer(async () => originChild?.stop());
  await startOrigin();
  const originUrl = `http://${originHost.address}:${registryPort}`;
  const measured: Child[] = [];

  let pullThrough: LabHost | undefined;
  if (options.mode === 'pull-through') {
    pullThrough = await network.addHost('proxy', options.rateBytesPerSecond);
    const proxy = stack.use(startPullThrough(pullThrough, directory, originUrl));
    await using agent = startAgent('proxy', directory, pullThrough.netns);
    await waitForAnswer(agent, '/v2/', registryPort, proxy.child);
    measured.push(proxy.child);
  }

  const hosts: LabHost[] = [];
  for (let index = 0; index < options.nodes; index += 1)
    hosts.push(await network.addHost(`n${index}`, options.rateBytesPerSecond));
  const dockerds: Dockerd[] = [];
  if (options.client === 'docker') {
    const mirror = { host: '127.0.0.1', port: registryPort };
    for (const host of hosts) {
      dockerds.push(stack.use(await startDockerd(join(directory, `docker-${host.label}`), mirror, host.netns)));
    }
  }
  const nodes = hosts.map((host, index): FleetNode => {
    const agent = stack.use(startAgent(host.label, directory, host.netns));
    if (options.mode !== 'shoal') {
      return { index, host, agent, pullFrom: { host: (pullThrough ?? originHost).address, port: registryPort } };
    }
    const daemon = stack.use(startDaemon(index, hosts, directory, originUrl, options));
    measured.push(daemon);
    const docker = dockerds[index];
    const pullFrom = { host: '127.0.0.1', port: registryPort };
    return { index, host, agent, daemon, pullFrom, ...(docker === undefined ? {} : { docker }) };
  });
  await waitForMesh(nodes);

  const owned = stack.move();
  return {
    options,
    network,
    directory,
    origin: {
      host: originHost,
      agent: originAgent,
      async kill() {
        originChild?.kill('SIGKILL');
        await originChild?.exited;
      },
      countHits: async () => (await chaos?.countHits()) ?? 0,
    },
    nodes,
    measured,
    startOrigin,
    async pushImage(image) {
      const files = writeImageFiles(image, directory);
      // The chaos origin goes on reading the files; docker-registry copies them.
      if (chaos !== undefined) {
        await chaos.put(files);
        return;
      }
      await originAgent.send('push', { host: '127.0.0.1', port: registryPort, ...files });
      rmSync(files.directory, { recursive: true });
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Starts the cache that nodes without a daemon pull through. */
function startPullThrough(host: LabHost, directory: string, originUrl: string): DockerRegistry {
  return startDockerRegistryProcess({
    directory: join(directory, 'proxy'),
    host: '0.0.0.0',
    port: registryPort,
    netns: host.netns,
    accessLog: false,
    proxyOf: originUrl,
  });
}

function startDaemon(
  index: number,
  hosts: readonly LabHost[],
  directory: string,
  originUrl: string,
  options: FleetOptions,
): Child {
  const host = hosts[index] as LabHost;
  return startShoalProcess({
    name: host.label,
    directory: join(directory, host.label),
    registry: { host: '127.0.0.1', port: registryPort },
    admin: { host: '127.0.0.1', port: adminPort },
    peer: { host: host.address, port: peerPort },
    bulk: { host: host.address, port: bulkPort },
    // Two known nodes, as an operator would write; the rest find each other.
    bootstrap: hosts
      .slice(0, 2)
      .filter((other) => other !== host)
      .map((other) => `${other.address}:${peerPort}`),
    origins: { 'docker.io': { url: originUrl, insecure: true } },
    defaultOrigin: 'docker.io',
    netns: host.netns,
    // What is installed, not what is developed.
    script: join(repositoryRoot, 'dist', 'main.js'),
    ...(options.profileNode === index
      ? {
          nodeArgs: ['--cpu-prof', `--cpu-prof-dir=${process.cwd()}`, `--cpu-prof-name=bench-${host.label}.cpuprofile`],
        }
      : {}),
    ...options.nodeChanges?.(index),
  });
}

/** Waits until every daemon is ready and connected to all others. */
async function waitForMesh(nodes: readonly FleetNode[]): Promise<void> {
  const expectedPeers = nodes.length - 1;
  for (const { agent, daemon, index } of nodes) {
    if (daemon === undefined) continue;
    await waitForAnswer(agent, '/readyz', adminPort, daemon);
    await waitUntil(
      `node ${index} to see ${expectedPeers} peers`,
      async () => {
        const answer = await agent.send('get', { host: '127.0.0.1', port: adminPort, path: '/api/v1/status' });
        return answer.status === 200 && readConnectedPeers(answer.body) >= expectedPeers;
      },
      { timeoutMs: readyTimeoutMs, intervalMs: 250, child: daemon },
    );
  }
}

async function waitForAnswer(agent: Agent, path: string, port: number, child: Child): Promise<void> {
  await waitUntil(
    `${child.name} to answer ${path}`,
    async () => {
      try {
        return (await agent.send('get', { host: '127.0.0.1', port, path })).status === 200;
      } catch {
        return false;
      }
    },
    { timeoutMs: readyTimeoutMs, intervalMs: 50, child },
  );
}
