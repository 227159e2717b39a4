import { findLiteralAddress, isLocalhost, isLoopbackHost, isPrivateAddress } from './http/private-address.ts';
import type { OriginEntry, OriginsOptions } from './origin-options.ts';

// What docker and containerd mean by docker.io.
const dockerHub = { namespace: 'docker.io', url: 'https://registry-1.docker.io' };

const namespacePattern =
  /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/;

/** How a namespace came to be allowed: a named one may be at a private address, one that merely is not forbidden may not. */
export type NamespacePermission = 'named' | 'public-only' | 'refused';

/** Decides whether a namespace may be asked. Names are compared in lower case. */
export function findPermission(namespace: string, options: OriginsOptions): NamespacePermission {
  if (namespace.length > 253 || !namespacePattern.test(namespace)) return 'refused';
  // A host that ends in a number is an IPv4 address to a URL, and not every such text is one.
  if (!URL.canParse(`https://${namespace}`)) return 'refused';
  if (options.origins.has(namespace)) return 'named';
  if (options.allow === 'configured') return 'refused';
  const patterns = options.allow === 'any' ? ['*'] : options.allow;
  if (patterns.some((pattern) => pattern !== '*' && matchesPattern(namespace, pattern))) return 'named';
  if (!patterns.includes('*')) return 'refused';
  const { hostname } = new URL(`https://${namespace}`);
  const address = findLiteralAddress(hostname);
  const isPrivate = address === undefined ? isLocalhost(hostname) : isPrivateAddress(address);
  return isPrivate ? 'refused' : 'public-only';
}

/** Tells whether a namespace fits a pattern in which `*` stands for any run of characters. */
export function matchesPattern(namespace: string, pattern: string): boolean {
  const parts = pattern.toLowerCase().split('*');
  const [first = '', ...rest] = parts;
  const last = rest.pop();
  if (last === undefined) return namespace === first;
  if (!namespace.startsWith(first)) return false;
  let at = first.length;
  for (const part of rest) {
    const found = namespace.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return namespace.length - last.length >= at && namespace.endsWith(last);
}

/** Returns where a namespace answers, without a slash at the end. */
export function originUrl(namespace: string, entry: OriginEntry): string {
  if (entry.url !== undefined) return entry.url.replace(/\/+$/, '');
  if (namespace === dockerHub.namespace) return dockerHub.url;
  const { hostname } = new URL(`https://${namespace}`);
  return `${isLoopbackHost(hostname) ? 'http' : 'https'}://${namespace}`;
}
