import { findLiteralAddress, isLocalhost, isLoopbackHost } from '../http/private-address.ts';

/**
 * Decides where an origin's credentials may go. An origin names its token service itself (the realm of the challenge), so
 * whoever controls the origin, or the wire to it, could name any host: CVE-2026-33540.
 */

// Country suffixes under which names are sold, so that the owner's part has three labels. Not the whole Public Suffix List.
const countrySuffixes = new Set(
  `co.uk org.uk ac.uk gov.uk com.au net.au org.au com.br com.cn net.cn org.cn gov.cn edu.cn co.jp ne.jp or.jp ac.jp co.kr or.kr
  co.nz co.in net.in org.in gov.in com.tr com.mx com.ar com.sg com.hk com.tw co.za co.il com.pl com.ua com.my co.id co.th
  com.vn`.split(/\s+/),
);

// Domains under which anyone can open a name, at any depth: two names there never have the same owner.
const sharedDomains = new Set(
  `amazonaws.com azurecr.io azurewebsites.net cloudapp.net windows.net cloudfront.net github.io gitlab.io herokuapp.com run.app
  appspot.com web.app firebaseapp.com vercel.app netlify.app workers.dev pages.dev fly.dev onrender.com railway.app r2.dev
  ngrok.io ngrok.app ngrok-free.app duckdns.org dyndns.org nip.io sslip.io digitaloceanspaces.com backblazeb2.com aliyuncs.com
  myqcloud.com scw.cloud ts.net`.split(/\s+/),
);

/** Tells whether a token service may be asked on behalf of an origin, with or without credentials. */
export function isRealmAllowed(origin: URL, realm: URL, trustedHosts: readonly string[]): boolean {
  if (realm.protocol !== 'https:' && realm.protocol !== 'http:') return false;
  if (origin.protocol === 'https:' && realm.protocol !== 'https:') return false;
  if (realm.username !== '' || realm.password !== '') return false;
  const host = realm.hostname.toLowerCase();
  const originHost = origin.hostname.toLowerCase();
  if (host === originHost || isTrustedHost(realm, trustedHosts)) return true;
  if (findLiteralAddress(host) !== undefined || isLocalhost(host)) return false;
  if (findLiteralAddress(originHost) !== undefined || isLocalhost(originHost)) return false;
  const domain = findRegistrableDomain(host);
  return domain !== undefined && domain === findRegistrableDomain(originHost);
}

export type RedirectRefusal =
  | 'too-many'
  | 'unreadable'
  | 'scheme'
  | 'downgrade'
  | 'credentials-in-url'
  | 'private-address';

/** Decides whether a redirect may be followed; undefined = yes. Credentials never follow to another host. */
export function findRedirectRefusal(
  from: URL,
  to: URL,
  options: {
    readonly isOriginPrivate: boolean;
    readonly trustedHosts: readonly string[];
    readonly isPrivate: (hostname: string) => boolean;
  },
): RedirectRefusal | undefined {
  if (to.protocol !== 'https:' && to.protocol !== 'http:') return 'scheme';
  if (from.protocol === 'https:' && to.protocol !== 'https:') return 'downgrade';
  if (to.username !== '' || to.password !== '') return 'credentials-in-url';
  if (options.isPrivate(to.hostname) && !options.isOriginPrivate && !isTrustedHost(to, options.trustedHosts)) {
    return 'private-address';
  }
  return undefined;
}

/** Tells whether credentials may be sent over this connection at all. */
export function isCarrierSafe(url: URL, isInsecureAllowed: boolean): boolean {
  return url.protocol === 'https:' || isInsecureAllowed || isLoopbackHost(url.hostname);
}

function isTrustedHost(url: URL, trustedHosts: readonly string[]): boolean {
  return trustedHosts.some((host) => host.toLowerCase() === url.host || host.toLowerCase() === url.hostname);
}

/** Returns the part of a name that has one owner (last two labels, or three), or undefined where there is none. */
export function findRegistrableDomain(hostname: string): string | undefined {
  const labels = hostname.replace(/\.$/, '').toLowerCase().split('.');
  const lastTwo = labels.slice(-2).join('.');
  if (sharedDomains.has(lastTwo)) return undefined;
  const count = countrySuffixes.has(lastTwo) ? 3 : 2;
  return labels.length < count || labels.includes('') ? undefined : labels.slice(-count).join('.');
}
