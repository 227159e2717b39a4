import type { Config } from '../../config/schema.ts';
import { parseNamespace } from '../../oci/namespace.ts';
import type { RegistryOptions } from '../../registry/options.ts';

const KiB = 1024;

export function registryOptions(config: Config, allowsNamespace: (namespace: string) => boolean): RegistryOptions {
  const { registry } = config;
  return {
    listen: registry.listen,
    defaultOrigin: parseNamespace(config.defaultOrigin),
    allowsNamespace,
    maxConnections: registry.maxConnections,
    // Clients send a long Accept and perhaps a token; Node's own default.
    maxHeaderBytes: 16 * KiB,
    headersTimeoutMs: registry.headersTimeout,
    requestTimeoutMs: registry.requestTimeout,
    idleTimeoutMs: registry.idleTimeout,
    stallTimeoutMs: registry.stallTimeout,
    // Under every client's time for the head of an answer, over what an origin near by takes for the first byte.
    earlyHeadersMs: 1_000,
    // containerd asks for one; partial pulls of zstd:chunked for tens.
    maxRanges: 64,
    // Large buffers move warm blobs at disk speed; when they are out, small ones keep every client moving.
    buffers: { largeBytes: 512 * KiB, smallBytes: 32 * KiB, maxLarge: 32 },
    drainTimeoutMs: config.shutdown.drainTimeout,
  };
}
