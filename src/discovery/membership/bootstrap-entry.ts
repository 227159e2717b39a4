import { isIP } from 'node:net';
import { DiscoveryError } from '../errors.ts';

/** One line of the bootstrap list. */
export type BootstrapEntry =
  /** Dialled as it is. */
  | { readonly kind: 'address'; readonly address: string }
  /** Every address the name resolves to, at this port. */
  | { readonly kind: 'name'; readonly name: string; readonly port: number }
  /** Every host and port of the SRV records. */
  | { readonly kind: 'service'; readonly name: string };

const namePattern = /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$/;

/**
 * Reads `ip:port`, `[ipv6]:port`, `name:port`, an SRV name `_service._tcp.name`, or a multiaddr.
 * @throws DISCOVERY_BOOTSTRAP_INVALID
 */
export function parseBootstrapEntry(text: string): BootstrapEntry {
  const entry = text.trim();
  if (/^\/(ip4|ip6|dns|dns4|dns6|dnsaddr)\/[^/]+/.test(entry)) return { kind: 'address', address: entry };
  if (/^_[^.]+\._tcp\./.test(entry) && namePattern.test(entry)) return { kind: 'service', name: entry };
  const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(entry);
  const host = parts?.[1] ?? parts?.[2];
  const port = Number(parts?.[3]);
  if (host !== undefined && port >= 1 && port <= 65_535) {
    if (isIP(host) !== 0) return { kind: 'address', address: hostPort(host, port) };
    if (namePattern.test(host)) return { kind: 'name', name: host, port };
  }
  throw new DiscoveryError(
    'DISCOVERY_BOOTSTRAP_INVALID',
    `${JSON.stringify(text.slice(0, 300))} is no bootstrap entry: expected host:port, [ipv6]:port, name:port, an SRV name (_shoal._tcp.example.org) or a multiaddr`,
    { details: { entry: text.slice(0, 300) } },
  );
}

/** Writes host and port as one address, an IPv6 host in brackets. */
export function hostPort(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}
