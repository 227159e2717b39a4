import { BlockList, isIP } from 'node:net';

// IANA special-purpose registries (RFC 6890 and updates): what is not an address of a public server.
const special = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  special.addSubnet(network, prefix, 'ipv4');
}
for (const [network, prefix] of [
  ['::', 127],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const) {
  special.addSubnet(network, prefix, 'ipv6');
}

// IPv4 inside IPv6: mapped (RFC 4291), compatible, NAT64 (RFC 6052), 6to4 (RFC 3056); judged by the address they carry.
const carriers: readonly { readonly test: (groups: readonly number[]) => boolean; readonly at: number }[] = [
  { test: (groups) => groups.slice(0, 5).every((group) => group === 0), at: 6 },
  { test: (groups) => groups[0] === 0x64 && groups[1] === 0xff9b, at: 6 },
  { test: (groups) => groups[0] === 0x2002, at: 1 },
];

/** Tells whether an address (not a name) is private, loopback, link-local or otherwise not of a public server. */
export function isPrivateAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return special.check(address, 'ipv4');
  if (family !== 6) return false;
  if (special.check(address, 'ipv6')) return true;
  const groups = expandGroups(address);
  const carrier = carriers.find(({ test }) => test(groups));
  if (carrier === undefined) return false;
  const [high = 0, low = 0] = groups.slice(carrier.at, carrier.at + 2);
  return special.check(`${high >> 8}.${high & 0xff}.${low >> 8}.${low & 0xff}`, 'ipv4');
}

/** Returns the address a URL's host name is, without brackets, or undefined for a name. */
export function findLiteralAddress(hostname: string): string | undefined {
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return isIP(bare) === 0 ? undefined : bare;
}

/** Tells whether a name means this machine without asking DNS (RFC 6761 section 6.3). */
export function isLocalhost(hostname: string): boolean {
  const name = hostname.replace(/\.$/, '').toLowerCase();
  return name === 'localhost' || name.endsWith('.localhost');
}

/** Tells whether a URL's host is this machine, as a name or as an address. */
export function isLoopbackHost(hostname: string): boolean {
  const address = findLiteralAddress(hostname);
  if (address === undefined) return isLocalhost(hostname);
  return address === '::1' || (isIP(address) === 4 && address.startsWith('127.'));
}

function expandGroups(address: string): readonly number[] {
  // The URL parser writes the shortest form of any spelling, with hexadecimal groups only.
  const [head = '', tail] = new URL(`http://[${address.replace(/%.*$/, '')}]`).hostname.slice(1, -1).split('::');
  const read = (part: string) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const left = read(head);
  const right = tail === undefined ? [] : read(tail);
  return [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right];
}
