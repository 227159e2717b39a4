import type { AdminOptions } from '../../admin/options.ts';
import type { Config } from '../../config/schema.ts';
import { parseNamespace } from '../../oci/namespace.ts';

export function adminOptions(config: Config): AdminOptions {
  return {
    listen: config.admin.listen,
    ...(config.admin.token === undefined ? {} : { token: config.admin.token }),
    hosts: config.admin.hosts,
    defaultOrigin: parseNamespace(config.defaultOrigin),
    // Probes, a scraper, some people: never many.
    maxConnections: 64,
    maxPulls: 16,
    requestTimeoutMs: 10_000,
    // Pulls asked for here end with the node; only short answers are waited for.
    drainTimeoutMs: 1_000,
  };
}
