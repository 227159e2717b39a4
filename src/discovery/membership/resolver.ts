import { lookup, resolveSrv } from 'node:dns/promises';
import { toError } from '../../lib/errors.ts';
import { DiscoveryError } from '../errors.ts';
import { type BootstrapEntry, hostPort } from './bootstrap-entry.ts';

/** Turns names into addresses. */
export interface Resolver {
  /** Returns every A and AAAA address of a name. @throws DISCOVERY_RESOLVE_FAILED */
  addresses(name: string): Promise<readonly string[]>;
  /** Returns every target of an SRV name. @throws DISCOVERY_RESOLVE_FAILED */
  services(name: string): Promise<readonly { readonly host: string; readonly port: number }[]>;
}

/** The system's resolver: /etc/hosts and search domains count for names, which a headless Service or a compose network needs. */
export const systemResolver: Resolver = {
  async addresses(name) {
    try {
      const found = await lookup(name, { all: true });
      return found.map((each) => each.address);
    } catch (cause) {
      throw resolveFailed(name, cause);
    }
  },
  async services(name) {
    try {
      const found = await resolveSrv(name);
      return found.map((each) => ({ host: each.name, port: each.port }));
    } catch (cause) {
      throw resolveFailed(name, cause);
    }
  },
};

/** A name with more answers than this is not a bootstrap list. */
const maxAddressesPerEntry = 1000;

/** Returns the addresses that an entry currently stands for. @throws DISCOVERY_RESOLVE_FAILED */
export async function resolveEntry(entry: BootstrapEntry, resolver: Resolver): Promise<readonly string[]> {
  switch (entry.kind) {
    case 'address':
      return [entry.address];
    case 'name': {
      const hosts = await resolver.addresses(entry.name);
      return hosts.slice(0, maxAddressesPerEntry).map((host) => hostPort(host, entry.port));
    }
    case 'service': {
      const services = (await resolver.services(entry.name)).slice(0, maxAddressesPerEntry);
      return services.map(({ host, port }) => hostPort(host, port));
    }
  }
}

function resolveFailed(name: string, cause: unknown): DiscoveryError {
  return new DiscoveryError('DISCOVERY_RESOLVE_FAILED', `${name} does not resolve: ${toError(cause).message}`, {
    cause,
    details: { name },
  });
}
