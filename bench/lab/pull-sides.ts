/**
 * The three ways one node can get an image, side by side: from the origin itself, through docker-registry's pull-through mode,
 * through Shoal. Each side is started fresh, measured, and stopped before the next, so that they do not share the cores.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, waitUntil } from '../../test/support/child.ts';
import { type DockerRegistry, startDockerRegistryProcess } from '../../test/support/docker-registry.ts';
import { type Endpoint, startShoalProcess } from '../../test/support/shoal-node.ts';
import type { Agent } from './agent.ts';
import type { LoadOutcome } from './agent-protocol.ts';
import type { RandomImage } from './random-image.ts';
import { round } from './statistics.ts';

export type SideName = 'direct' | 'pull-through' | 'shoal';

export const sideNames: readonly SideName[] = ['direct', 'pull-through', 'shoal'];

export interface PullBenchPlace {
  readonly directory: string;
  readonly agent: Agent;
  readonly origin: DockerRegistry;
  /** The origin as the node sees it. */
  readonly originEndpoint: Endpoint;
  readonly netns?: string;
  /** Free ports on the node's loopback: registry, admin, peer, bulk. */
  readonly ports: readonly [number, number, number, number];
}

export interface SideFigures {
  readonly startToReadySeconds: number | null;
  readonly idleRssMiB: number | null;
  readonly peakRssMiB: number;
  readonly coldSeconds: number;
  readonly coldMiBPerSecond: number;
  readonly coldTtfbSecondsMax: number;
  readonly coldCpuSecondsPerGiB: number;
  readonly coldOriginRequests: number;
  readonly warmSeconds: number;
  readonly warmOriginRequests: number;
  readonly warmMiBPerSecond1: number;
  readonly warmCpuSecondsPerGiB1: number;
  readonly warmMiBPerSecond50: number;
  readonly warmCpuSecondsPerGiB50: number;
  readonly warmTtfbSecondsMax50: number;
  readonly headP50Ms: number;
  readonly headP99Ms: number;
  readonly wrongBytes: number;
  readonly failures: readonly string[];
}

const mebibyte = 1024 ** 2;
const gibibyte = 1024 ** 3;
const deadlineMs = 300_000;
/** Long enough for start-up work to be over when idle memory is read. */
const idleMs = 3000;
const headsPerSecond = 500;
const headSeconds = 5;
const acceptAny = {
  Accept: 'application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json',
};

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

interface Side {
  readonly endpoint: Endpoint;
  /** The process that serves: its CPU and memory count. */
  readonly server: Child;
  readonly startToReadySeconds: number | null;
  readonly stop: () => Promise<void>;
}

async function startSide(name: SideName, place: PullBenchPlace, directory: string): Promise<Side> {
  const [registryPort, adminPort, peerPort, bulkPort] = place.ports;
  const local = (port: number): Endpoint => ({ host: '127.0.0.1', port });
  const originUrl = `http://${place.originEndpoint.host}:${place.originEndpoint.port}`;
  const netns = place.netns === undefined ? {} : { netns: place.netns };
  if (name === 'direct') {
    return {
      endpoint: place.originEndpoint,
      server: place.origin.child,
      startToReadySeconds: null,
      stop: async () => undefined,
    };
  }
  const startedAt = performance.now();
  const server =
    name === 'pull-through'
      ? startDockerRegistryProcess({
          directory,
          ...local(registryPort),
          ...netns,
          accessLog: false,
          proxyOf: originUrl,
        }).child
      : startShoalProcess({
          name: 'bench',
          directory,
          registry: local(registryPort),
          admin: local(adminPort),
          peer: local(peerPort),
          bulk: local(bulkPort),
          bootstrap: [],
          origins: { 'docker.io': { url: originUrl, insecure: true } },
          defaultOrigin: 'docker.io',
          ...netns,
        });
  const ready = name === 'shoal' ? { port: adminPort, path: '/readyz' } : { port: registryPort, path: '/v2/' };
  const isReady = async () => {
    try {
      return (await place.agent.send('get', { host: '127.0.0.1', ...ready })).status === 200;
    } catch {
      return false;
    }
  };
  await waitUntil(`${name} to be ready`, isReady, { timeoutMs: 60_000, intervalMs: 10, child: server });
  return {
    endpoint: local(registryPort),
    server,
    startToReadySeconds: (performance.now() - startedAt) / 1000,
    stop: () => server.stop(),
  };
}

/** Measures one side with an image that it has never seen. */
export async function measureSide(name: SideName, place: PullBenchPlace, image: RandomImage): Promise<SideFigures> {
  const { agent, origin } = place;
  const directory = mkdtempSync(join(place.directory, `${name}-`));
  const side = await startSide(name, place, directory);
  try {
    await pause(idleMs);
    const idle = await side.server.readUsage();
    const failures: string[] = [];
    let wrongBytes = 0;
    const pull = async () => {
      const requestsBefore = origin.readRequests().length;
      const before = await side.server.readUsage();
      const order = {
        ...side.endpoint,
        repository: image.repository,
        reference: image.tag,
        haveDigests: [],
        deadlineMs,
      };
      await agent.send('arm', { order, poolBytes: image.sizeBytes });
      const outcome = await agent.send('pull', { atNs: '0' });
      const cpuSeconds = (await side.server.readUsage()).cpuSeconds - before.cpuSeconds;
      failures.push(...outcome.errors);
      wrongBytes += (await agent.send('verify', {})).wrongBytes;
      return { outcome, cpuSeconds, originRequests: origin.readRequests().length - requestsBefore };
    };
    const load = async (clients: number, requestsPerClient: number, layer: RandomImage['layers'][number]) => {
      const before = await side.server.readUsage();
      const outcome: LoadOutcome = await agent.send('load', {
        ...side.endpoint,
        method: 'GET',
        path: `/v2/${image.repository}/blobs/${layer.digest}`,
        clients,
        requestsPerClient,
        expectedDigest: layer.digest,
        sizeBytes: layer.bytes.length,
      });
      const cpuSeconds = (await side.server.readUsage()).cpuSeconds - before.cpuSeconds;
      failures.push(...outcome.failures);
      wrongBytes += outcome.wrongBytes;
      return {
        rate: outcome.bytes / mebibyte / outcome.seconds,
        cpuPerGiB: cpuSeconds / (outcome.bytes / gibibyte),
        ttfb: outcome.ttfbSecondsMax,
      };
    };

    const cold = await pull();
    // Verification, commits and fsyncs that trail the answer must not be charged to the warm pull.
    await pause(1000);
    const warm = await pull();
    const [big, middle] = image.layers.toSorted((left, right) => right.bytes.length - left.bytes.length);
    if (big === undefined || middle === undefined) throw new Error('the image needs two layers');
    const one = await load(1, 16, big);
    const fifty = await load(50, 4, middle);
    const heads: LoadOutcome = await agent.send('load', {
      ...side.endpoint,
      method: 'HEAD',
      path: `/v2/${image.repository}/manifests/${image.tag}`,
      headers: acceptAny,
      clients: 50,
      requestsPerClient: (headsPerSecond * headSeconds) / 50,
      requestsPerSecond: headsPerSecond,
      sizeBytes: 0,
    });
    failures.push(...heads.failures);
    const peak = await side.server.readUsage();
    return {
      startToReadySeconds: side.startToReadySeconds === null ? null : round(side.startToReadySeconds),
      idleRssMiB: name === 'direct' ? null : round(idle.rssBytes / mebibyte, 1),
      peakRssMiB: round(peak.peakRssBytes / mebibyte, 1),
      coldSeconds: round(cold.outcome.seconds),
      coldMiBPerSecond: round(cold.outcome.bytes / mebibyte / cold.outcome.seconds, 1),
      coldTtfbSecondsMax: round(Math.max(0, ...cold.outcome.blobs.map((blob) => blob.ttfbSeconds))),
      coldCpuSecondsPerGiB: round(cold.cpuSeconds / (cold.outcome.bytes / gibibyte), 2),
      coldOriginRequests: cold.originRequests,
      warmSeconds: round(warm.outcome.seconds),
      warmOriginRequests: warm.originRequests,
      warmMiBPerSecond1: round(one.rate, 1),
      warmCpuSecondsPerGiB1: round(one.cpuPerGiB, 2),
      warmMiBPerSecond50: round(fifty.rate, 1),
      warmCpuSecondsPerGiB50: round(fifty.cpuPerGiB, 2),
      warmTtfbSecondsMax50: round(fifty.ttfb),
      headP50Ms: round(heads.latencySeconds.p50 * 1000, 2),
      headP99Ms: round(heads.latencySeconds.p99 * 1000, 2),
      wrongBytes,
      failures,
    };
  } finally {
    await side.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}
