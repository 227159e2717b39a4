import type { Config, OriginConfig } from '../../config/schema.ts';
import type { ConfiguredCredentials, OriginEntry, OriginsOptions } from '../../origin/origin-options.ts';

/** Turns the configuration into what the origins need. */
export function originOptions(config: Config, version: string): OriginsOptions {
  const { originLimits: limits, proxy } = config;
  return {
    origins: new Map(Object.entries(config.origins).map(([namespace, entry]) => [namespace, originEntry(entry)])),
    defaultSettings: {
      parallelRequests: limits.parallelRequests,
      ...(limits.bytesPerSecond === 0 ? {} : { rateBytesPerSecond: limits.bytesPerSecond }),
      timeouts: {
        connectMs: limits.connectTimeout,
        headersMs: limits.headersTimeout,
        stallMs: limits.stallTimeout,
        deadlineMs: limits.deadline,
      },
      retries: limits.retries,
      breakerFailures: limits.breakerFailures,
      breakerPauseMs: limits.breakerPause,
    },
    allow: [...config.allowedOrigins, config.defaultOrigin],
    ...(config.dockerConfigFile === undefined ? {} : { dockerConfigFile: config.dockerConfigFile }),
    ...(Object.values(proxy).some((value) => value !== undefined)
      ? {
          proxy: {
            ...(proxy.http === undefined ? {} : { httpProxy: proxy.http }),
            ...(proxy.https === undefined ? {} : { httpsProxy: proxy.https }),
            ...(proxy.bypass === undefined ? {} : { noProxy: proxy.bypass }),
          },
        }
      : {}),
    userAgent: `shoal/${version}`,
  };
}

function originEntry(entry: OriginConfig): OriginEntry {
  const credentials = findCredentials(entry);
  return {
    ...(entry.url === undefined ? {} : { url: entry.url }),
    ...(credentials === undefined ? {} : { credentials }),
    ...(entry.ca === undefined ? {} : { caFile: entry.ca }),
    ...(entry.insecure === undefined ? {} : { insecure: entry.insecure }),
    ...(entry.trustedHosts === undefined ? {} : { trustedHosts: entry.trustedHosts }),
    ...(entry.parallelRequests === undefined ? {} : { parallelRequests: entry.parallelRequests }),
    ...(entry.bytesPerSecond === undefined ? {} : { rateBytesPerSecond: entry.bytesPerSecond }),
    ...(entry.retries === undefined ? {} : { retries: entry.retries }),
  };
}

function findCredentials(entry: OriginConfig): ConfiguredCredentials | undefined {
  const { username, password, passwordFile, token } = entry;
  if (token !== undefined) return { token };
  if (username === undefined) return undefined;
  if (passwordFile !== undefined) return { username, passwordFile };
  return password === undefined ? undefined : { username, password };
}
