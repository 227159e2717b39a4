import { isIPv4, isIPv6 } from 'node:net';
import { OciError } from './errors.ts';

declare const namespaceBrand: unique symbol;

/** The host of an origin, lower case, with its port if it has one (`docker.io`, `myreg:5000`, `[::1]:5000`). */
export type Namespace = string & { readonly [namespaceBrand]: true };

export const dockerHub = 'docker.io' as Namespace;

// Names under which Docker Hub's images are also asked for; the content is the same.
const dockerHubAliases: readonly string[] = ['index.docker.io', 'registry-1.docker.io'];

// RFC 1035: 253 characters of host name, 63 per label.
const maxHostLength = 253;
const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const shape = /^(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::([1-9][0-9]{0,4}))?$/;

/** Reads a namespace; upper case is folded and Docker Hub's other names become `docker.io`. Undefined for anything but `host[:port]`. */
export function findNamespace(text: string): Namespace | undefined {
  if (text.length > maxHostLength + ':65535'.length) return undefined;
  const match = shape.exec(text.toLowerCase());
  const host = match?.[1];
  if (match === null || host === undefined || Number(match[2] ?? 1) > 65535 || !isHost(host)) return undefined;
  return (dockerHubAliases.includes(match[0]) ? dockerHub : match[0]) as Namespace;
}

/** Reads a namespace. @throws OCI_NAME_INVALID */
export function parseNamespace(text: string): Namespace {
  const namespace = findNamespace(text);
  if (namespace === undefined) {
    throw new OciError('OCI_NAME_INVALID', 'namespace must be a host name or IP address with an optional port', {
      details: { namespace: text.slice(0, 160) },
    });
  }
  return namespace;
}

/**
 * Tells whether the first component of a written reference or path is a host and not a part of the name: it has a dot or a port,
 * or is `localhost`. `findNamespace` still has to accept it. Docker also takes an upper-case letter for a host; here that is an
 * error, because the folded name could not be told from a path component when it is read again.
 */
export function looksLikeNamespace(component: string): boolean {
  return component === 'localhost' || /[.:]/.test(component);
}

function isHost(host: string): boolean {
  if (host.startsWith('[')) return isIPv6(host.slice(1, -1));
  if (host.length > maxHostLength) return false;
  const labels = host.split('.');
  // URL parsers read a host that ends in a number as IPv4 in all its spellings (`127.1`, `0x7f000001`): only the plain one may pass.
  if (/^(?:[0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '')) return isIPv4(host);
  return labels.every((part) => label.test(part));
}
