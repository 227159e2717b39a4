import type { BulkClientOptions } from '../../src/peer/tls/bulk-client.ts';
import type { BulkServerOptions } from '../../src/peer/tls/bulk-server.ts';

export const bulkServerOptions: BulkServerOptions = {
  listen: { host: '127.0.0.1', port: 0 },
  maxConnections: 100,
  maxConnectionsPerPeer: 8,
  admissionGraceMs: 2_000,
  maxUnproved: 50,
  maxUnprovedPerHost: 50,
  maxRequests: 16,
  maxRequestsPerPeer: 8,
  chunkBytes: 512 * 1024,
  handshakeTimeoutMs: 10_000,
  headersTimeoutMs: 10_000,
  keepAliveMs: 60_000,
  stallTimeoutMs: 30_000,
  transferTimeoutMs: 900_000,
  retryAfterMs: 250,
  bufferIdleMs: 30_000,
};

export const bulkClientOptions: BulkClientOptions = {
  dialTimeoutMs: 5000,
  headersTimeoutMs: 10_000,
  stallTimeoutMs: 15_000,
  maxConnectionsPerPeer: 4,
  maxIdleConnections: 64,
  maxKeptConnections: 32,
  idleMs: 30_000,
  bufferBytes: 48 * 1024 * 1024,
  bufferIdleMs: 30_000,
};
