import { z } from 'zod';
import {
  dialAddress,
  duration,
  field,
  integer,
  listenAddress,
  namespace,
  namespacePattern,
  optionalField,
  reachableAddress,
  size,
} from './fields.ts';

/**
 * Every key of the configuration with its meaning and its default. This is the only place where a default exists; each part gets
 * complete options from here through the daemon. Sizes come out in bytes, durations in milliseconds.
 */

const count = (max: number) => integer(1, max);

const originSchema = z.strictObject({
  url: z
    .url({ protocol: /^https?$/, error: 'expected a URL such as https://registry.lan:5000' })
    .optional()
    .describe('Where the origin answers. Default: https:// and the namespace.'),
  username: z.string().min(1).optional().describe('User name for the origin.'),
  password: z.string().min(1).optional().describe('Password or access token for the origin.'),
  passwordFile: z.string().min(1).optional().describe('File that holds the password; read again for each new token.'),
  token: z.string().min(1).optional().describe('Bearer token that is sent as it is, in place of a user name.'),
  ca: z.string().min(1).optional().describe('PEM file of a certificate authority, trusted beside those of the system.'),
  insecure: z
    .boolean()
    .optional()
    .describe('Accept a certificate that does not verify, and send credentials over plain HTTP.'),
  trustedHosts: z
    .array(namespace)
    .max(100)
    .optional()
    .describe(
      'Hosts that may ask for the credentials (token servers) or be redirected to, beside those of the origin.',
    ),
  parallelRequests: count(256).optional().describe('As in originLimits, for this origin.'),
  bytesPerSecond: size.optional().describe('As in originLimits, for this origin.'),
  retries: integer(0, 20).optional().describe('As in originLimits, for this origin.'),
});

const logSchema = z.strictObject({
  level: field(
    'text',
    z.enum(['error', 'warn', 'info', 'debug', 'trace']),
    'info',
    'Least important level that is logged: error = you must act, warn = degraded but working, info = life cycle and finished transfers, debug = per peer, trace = per piece.',
  ),
  format: field(
    'text',
    z.enum(['auto', 'json', 'text']),
    'auto',
    'json, text, or auto: text on a terminal, else json.',
  ),
});

const registrySchema = z.strictObject({
  listen: field('address', listenAddress, '127.0.0.1:5000', 'Where container clients of this node pull through.'),
  maxConnections: field('number', count(65535), 1024, 'Client connections at once; more are closed at once.'),
  headersTimeout: field('duration', duration, '10s', 'Time a client has to send the head of a request.'),
  requestTimeout: field('duration', duration, '60s', 'Time a client has to send a whole request.'),
  idleTimeout: field('duration', duration, '75s', 'Time a kept-alive connection may be silent between requests.'),
  stallTimeout: field('duration', duration, '60s', 'Time a client may take no byte of an answer before it is cut off.'),
});

const adminSchema = z.strictObject({
  listen: field('address', listenAddress, '127.0.0.1:5001', 'Where the admin API, health and metrics answer.'),
  token: optionalField(
    'text',
    z
      .string()
      .min(16)
      .regex(/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/, {
        error: 'expected printable ASCII, since a header carries it',
      }),
    'Wanted as "Authorization: Bearer" for requests that change something; without it those are taken from this machine only.',
    { isSecret: true },
  ),
  hosts: field(
    'list',
    z.array(z.string().min(1).max(253)).max(100),
    [],
    'Host names under which the admin API may be asked, beside its own address and those of the loopback.',
  ),
});

const peerSchema = z.strictObject({
  listen: field(
    'address',
    listenAddress,
    '0.0.0.0:5002',
    'Control plane (libp2p) for other nodes. Without a fleet secret it binds loopback only.',
  ),
  bulkListen: field(
    'address',
    listenAddress,
    '0.0.0.0:5003',
    'Bulk plane (pieces over mutual TLS) for other nodes. Without a fleet secret it binds loopback only.',
  ),
  announce: field(
    'list',
    z.array(dialAddress).max(32),
    [],
    'Addresses at which other nodes reach this one, host:port or multiaddr, where it cannot know them (NAT, containers).',
  ),
  bulkAnnounce: optionalField(
    'address',
    reachableAddress,
    'Where other nodes reach the bulk plane of this one, host:port, where a mapped port or NAT changes it; a port alone keeps the host they see.',
    { defaultText: 'the address a connection comes from, with the port of bulkListen' },
  ),
  maxConnections: field('number', count(10_000), 1000, 'Connections to other nodes at once, on each plane.'),
});

const fleetSchema = z.strictObject({
  secret: optionalField(
    'text',
    z.string().min(16),
    'Shared by all nodes of the fleet, at least 16 characters. Prefer secretFile, which wins over this.',
    {
      isSecret: true,
    },
  ),
  secretFile: optionalField(
    'text',
    z.string().min(1),
    'File that holds the fleet secret; white space around it is ignored.',
  ),
  bootstrap: field(
    'list',
    z.array(z.string().min(1).max(512)).max(256),
    [],
    'Nodes to join by: host:port, a DNS name with port that resolves to many, or a multiaddr.',
  ),
  mdns: field('boolean', z.boolean(), false, 'Find nodes of the fleet on the local network by multicast DNS.'),
  zone: optionalField(
    'text',
    z.string().min(1).max(64),
    'Zone or rack of this node; peers of the same zone are preferred.',
  ),
});

const originLimitsSchema = z.strictObject({
  parallelRequests: field('number', count(256), 6, 'Blob bodies taken from one origin at once.'),
  bytesPerSecond: field('size', size, 0, 'Bytes of blobs per second taken from one origin; 0 = no limit.'),
  connectTimeout: field('duration', duration, '5s', 'Time to connect to an origin, TLS included.'),
  headersTimeout: field('duration', duration, '10s', 'Time an origin has to begin an answer.'),
  stallTimeout: field('duration', duration, '15s', 'Time an origin may send nothing in the middle of a body.'),
  deadline: field(
    'duration',
    duration,
    '60s',
    'Time from a question to its answer (for a blob: to its first byte), tokens, redirects and retries included.',
  ),
  retries: field('number', integer(0, 20), 3, 'Attempts after a failed one, with growing pauses.'),
  breakerFailures: field(
    'number',
    count(1000),
    5,
    'Failures in a row after which an origin is left alone for a while.',
  ),
  breakerPause: field('duration', duration, '5s', 'How long it is left alone at first; up to eight times as long.'),
});

const proxySchema = z.strictObject({
  http: optionalField('text', z.string(), 'Proxy for origins on plain HTTP.', { defaultText: 'HTTP_PROXY' }),
  https: optionalField('text', z.string(), 'Proxy for origins on HTTPS.', { defaultText: 'HTTPS_PROXY' }),
  bypass: optionalField('text', z.string(), 'Hosts reached without a proxy, as in NO_PROXY.', {
    defaultText: 'NO_PROXY',
  }),
});

const tagsSchema = z.strictObject({
  freshness: field('duration', duration, '60s', 'How long a tag is served without asking its origin again.'),
  staleHold: field(
    'duration',
    duration,
    '30s',
    'How long a tag served while its origin was down is served again without asking.',
  ),
  originPatience: field(
    'duration',
    duration,
    '3s',
    'How long the origin may think before a tag known from earlier, or from another node, is served in its place.',
  ),
  negative: field('duration', duration, '10s', 'How long "no such tag or manifest" is remembered.'),
});

const cacheSchema = z.strictObject({
  maxBytes: field(
    'size',
    size,
    0,
    'Bytes of blobs this node should hold, 0 = as many as the disk takes. Above it the node says so in its health; nothing is evicted yet.',
  ),
  minFreeBytes: field('size', size, '512MiB', 'Disk space that blobs leave free.'),
  ingestMaxAge: field('duration', duration, '7d', 'How long an unfinished blob that nobody asks for is kept.'),
  quarantineMaxBytes: field('size', size, '1GiB', 'Blobs found corrupt that are kept for a person to look at.'),
});

const swarmSchema = z.strictObject({
  uploadBytesPerSecond: field('size', size, 0, 'Bytes per second sent to other nodes; 0 = no limit.'),
  downloadBytesPerSecond: field(
    'size',
    size,
    0,
    'Bytes per second taken from other nodes and from origins together; 0 = no limit.',
  ),
  uploadSlots: field('number', count(256), 8, 'Runs of pieces sent to other nodes at once.'),
  stallTimeout: field(
    'duration',
    duration,
    '5s',
    'Time another node may send nothing in the middle of a run of pieces.',
  ),
  patience: field(
    'duration',
    duration,
    '30s',
    'How long a blob may make no progress, with every source tried, before its clients are told.',
  ),
  resumeFor: field(
    'duration',
    duration,
    '10m',
    'How long a blob that failed with pieces in hand is tried again in the background.',
  ),
  bufferBytes: field('size', size, '48MiB', 'Memory for pieces on their way; without a free buffer nothing is read.'),
  verifierThreads: field('number', count(64), 1, 'Threads that hash blobs as they arrive.'),
});

const shutdownSchema = z.strictObject({
  drainTimeout: field(
    'duration',
    duration,
    '10s',
    'Time that running requests get at a stop; a second signal ends it at once.',
  ),
});

export const configSchema = z.strictObject({
  dataDir: optionalField('text', z.string().min(1), 'Directory for blobs, index and the identity of this node.', {
    defaultText: '/var/lib/shoal if it can be written, else $XDG_DATA_HOME/shoal, else ~/.local/share/shoal',
  }),
  log: logSchema.prefault({}),
  registry: registrySchema.prefault({}),
  admin: adminSchema.prefault({}),
  peer: peerSchema.prefault({}),
  fleet: fleetSchema.prefault({}),
  origins: field(
    'map',
    z.record(namespace, originSchema),
    {},
    'Origins that need more than their name, by namespace: url, username, password or passwordFile, token, ca, insecure, trustedHosts, parallelRequests, bytesPerSecond, retries.',
  ),
  defaultOrigin: field(
    'text',
    namespace,
    'docker.io',
    'Origin of requests that name none, as dockerd sends them to a registry mirror.',
  ),
  allowedOrigins: field(
    'list',
    z.array(namespacePattern).max(1000),
    [
      'docker.io',
      'quay.io',
      'ghcr.io',
      'gcr.io',
      'registry.k8s.io',
      'mcr.microsoft.com',
      'public.ecr.aws',
      'registry.gitlab.com',
      'nvcr.io',
      'docker.elastic.co',
      'registry.redhat.io',
      'registry.access.redhat.com',
    ],
    'Origins a client may name beside the configured ones and the default. "*" stands for any run of characters; alone it means any host on a public address.',
  ),
  dockerConfigFile: optionalField(
    'text',
    z.string().min(1),
    'A docker config.json with credentials for origins, credential helpers included. They serve every client of this node.',
  ),
  proxy: proxySchema.prefault({}),
  originLimits: originLimitsSchema.prefault({}),
  tags: tagsSchema.prefault({}),
  prefetch: field(
    'boolean',
    z.boolean(),
    true,
    'Start to fetch all layers when a client asks for a manifest, before it asks for them.',
  ),
  cache: cacheSchema.prefault({}),
  swarm: swarmSchema.prefault({}),
  shutdown: shutdownSchema.prefault({}),
});

/** The configuration as parsed: sizes in bytes, durations in milliseconds, addresses split. */
export type Config = z.output<typeof configSchema>;
export type OriginConfig = z.output<typeof originSchema>;
