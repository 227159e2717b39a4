import { isIP } from 'node:net';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';

/** A host name as DNS and /etc/hosts know it; longer or stranger text is no address. */
const hostName =
  /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/;

/** Reads `host:port`, `[ipv6]:port` or a TCP multiaddr with or without a peer ID; undefined for anything else. */
export function findDialAddress(text: string): Multiaddr | undefined {
  if (text.startsWith('/')) {
    try {
      const address = multiaddr(text);
      return address.getComponents().some((component) => component.name === 'tcp') ? address : undefined;
    } catch {
      return undefined;
    }
  }
  const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const host = parts?.[1] ?? parts?.[2];
  const port = Number(parts?.[3]);
  if (host === undefined || port < 1 || port > 65_535) return undefined;
  if (isIP(host) === 0 && !hostName.test(host)) return undefined;
  return toMultiaddr(host, port);
}

/** Makes the multiaddr of a host and port; port 0 is for listening. */
export function toMultiaddr(host: string, port: number): Multiaddr {
  const family = isIP(host);
  return multiaddr(`/${family === 4 ? 'ip4' : family === 6 ? 'ip6' : 'dns'}/${host}/tcp/${port}`);
}

/** Returns the host part of an address. */
export function hostOf(address: Multiaddr): string {
  return address.getComponents()[0]?.value ?? 'unknown';
}
