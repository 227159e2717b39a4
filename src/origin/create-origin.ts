import { readFile } from 'node:fs/promises';
import type { LookupFunction } from 'node:net';
import type { Health } from '../health/health.ts';
import type { Clock, Random } from '../lib/clock.ts';
import { toError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { Repository } from '../oci/repository.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { createAuthorizer } from './auth/authorizer.ts';
import { createCredentialSource } from './auth/credential-source.ts';
import { createBreakerReport } from './breaker-report.ts';
import { OriginError } from './errors.ts';
import type { HttpClient } from './http/http-client.ts';
import { createUndiciClient } from './http/undici-client.ts';
import { createOriginMetrics } from './metrics.ts';
import { findPermission, originUrl } from './namespaces.ts';
import type { Origin } from './origin.ts';
import type { OriginEntry, OriginSettings, OriginsOptions, ProxyOptions } from './origin-options.ts';
import { openBlob, statBlob } from './registry-blobs.ts';
import { RegistryClient } from './registry-client.ts';
import { fetchManifest, resolveTag } from './registry-manifests.ts';
import { listTags } from './registry-tags.ts';
import { OriginSession } from './session.ts';

export interface OriginDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly health?: Health;
  /** Absent = the system's resolver. */
  readonly lookup?: LookupFunction;
}

interface OpenedOrigin {
  readonly session: OriginSession;
  readonly http: HttpClient;
}

// Namespaces met beside the configured ones are named by clients; the one met longest ago goes when it is idle.
const maxNamespaces = 256;

/** Creates the origins over HTTP. Connects when first asked; disposing cuts what still runs. */
export function createOrigin(deps: OriginDeps, options: OriginsOptions): Origin & AsyncDisposable {
  const metrics = createOriginMetrics(deps.metrics);
  const opened = new Map<string, Promise<OpenedOrigin>>();
  const sessions = new Map<string, OriginSession>();
  const closing = new Set<Promise<void>>();
  const proxy = options.proxy ?? readProxyEnvironment(process.env);
  let isClosed = false;

  const report = createBreakerReport({ clock: deps.clock, metrics, health: deps.health }, () =>
    [...sessions.values()].map((session) => session.status()),
  );

  const open = async (namespace: string, isTrusted: boolean): Promise<OpenedOrigin> => {
    const entry = options.origins.get(namespace) ?? {};
    const settings = mergeSettings(options.defaultSettings, entry);
    const url = originUrl(namespace, entry);
    const { trustedHosts = [], insecure = false } = entry;
    const ca = entry.caFile === undefined ? undefined : await readCaFile(entry.caFile, namespace);
    const logger = deps.logger.child({ namespace });
    const http = createUndiciClient({
      originUrl: new URL(url),
      ...(ca === undefined ? {} : { ca }),
      isVerifyingTls: !insecure,
      // Bodies and small requests have slots of their own; tokens and redirects go elsewhere or wait in the pool.
      connections: settings.parallelRequests * 2,
      timeouts: settings.timeouts,
      proxy,
      trustedHosts,
      isOriginTrusted: isTrusted,
      ...(deps.lookup === undefined ? {} : { lookup: deps.lookup }),
    });
    const credentials = createCredentialSource(
      { clock: deps.clock, logger },
      {
        namespace,
        ...(entry.credentials === undefined ? {} : { configured: entry.credentials }),
        ...(options.dockerConfigFile === undefined ? {} : { dockerConfigFile: options.dockerConfigFile }),
      },
    );
    const { userAgent } = options;
    const authorizer = createAuthorizer(
      { clock: deps.clock, http, credentials },
      { namespace, originUrl: new URL(url), trustedHosts, isInsecure: insecure, userAgent },
    );
    const client = new RegistryClient(
      { clock: deps.clock, http, authorizer },
      { namespace, url, trustedHosts, userAgent },
    );
    const session = new OriginSession(
      { clock: deps.clock, random: deps.random, logger, metrics, client, onBreaker: report.update },
      { namespace, url, settings },
    );
    return { session, http };
  };

  const makeRoom = () => {
    for (const [namespace, session] of sessions) {
      if (sessions.size < maxNamespaces) return;
      const found = opened.get(namespace);
      if (options.origins.has(namespace) || !session.isIdle || found === undefined) continue;
      opened.delete(namespace);
      sessions.delete(namespace);
      const closed: Promise<void> = found.then(({ http }) => http.close()).finally(() => closing.delete(closed));
      closing.add(closed);
    }
  };

  const use = async ({ namespace }: Repository, signal: AbortSignal): Promise<OriginSession> => {
    signal.throwIfAborted();
    const permission = findPermission(namespace, options);
    if (permission === 'refused' || isClosed) {
      const message = isClosed ? 'the origins are closed' : 'the namespace is not an allowed origin';
      throw new OriginError('ORIGIN_NOT_ALLOWED', message, { details: { namespace } });
    }
    let found = opened.get(namespace);
    if (found === undefined) {
      makeRoom();
      found = open(namespace, permission === 'named');
      opened.set(namespace, found);
      found.then(
        ({ session }) => sessions.set(namespace, session),
        () => opened.delete(namespace),
      );
    }
    return (await found).session;
  };

  return {
    allows: (namespace) => findPermission(namespace, options) !== 'refused',
    async resolveTag(repository, tag, options) {
      return await resolveTag(await use(repository, options.signal), repository.name, tag, options);
    },
    async fetchManifest(repository, digest, { signal }) {
      return await fetchManifest(await use(repository, signal), repository.name, digest, signal);
    },
    async statBlob(repository, digest, { signal }) {
      return await statBlob(await use(repository, signal), repository.name, digest, signal);
    },
    async openBlob(repository, digest, range, { signal }) {
      return await openBlob(await use(repository, signal), repository.name, digest, range, signal);
    },
    async listTags(repository, page, { signal }) {
      return await listTags(await use(repository, signal), repository.name, page, signal);
    },
    status: () => [...sessions.values()].map((session) => session.status()),
    async [Symbol.asyncDispose]() {
      isClosed = true;
      const found = await Promise.allSettled(opened.values());
      await Promise.all([
        ...found.map(async (one) => (one.status === 'fulfilled' ? await one.value.http.close() : undefined)),
        ...closing,
      ]);
      opened.clear();
      report[Symbol.dispose]();
    },
  };
}

/** Reads the proxy variables as curl and others do: lower case wins. */
export function readProxyEnvironment(environment: Readonly<Record<string, string | undefined>>): ProxyOptions {
  const read = (name: string) => environment[name.toLowerCase()] ?? environment[name] ?? '';
  return { httpProxy: read('HTTP_PROXY'), httpsProxy: read('HTTPS_PROXY'), noProxy: read('NO_PROXY') };
}

function mergeSettings(defaults: OriginSettings, entry: OriginEntry): OriginSettings {
  const rateBytesPerSecond = entry.rateBytesPerSecond ?? defaults.rateBytesPerSecond;
  return {
    parallelRequests: entry.parallelRequests ?? defaults.parallelRequests,
    ...(rateBytesPerSecond === undefined ? {} : { rateBytesPerSecond }),
    timeouts: entry.timeouts ?? defaults.timeouts,
    retries: entry.retries ?? defaults.retries,
    breakerFailures: entry.breakerFailures ?? defaults.breakerFailures,
    breakerPauseMs: entry.breakerPauseMs ?? defaults.breakerPauseMs,
  };
}

async function readCaFile(file: string, namespace: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new OriginError('ORIGIN_UNAVAILABLE', "the file of the origin's certificate authority cannot be read", {
      cause: toError(error),
      details: { namespace, caFile: file, stage: 'tls' },
    });
  }
}
