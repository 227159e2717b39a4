import { hash } from 'node:crypto';
import { base58btc } from 'multiformats/bases/base58';
import { findPeerId, type PeerId } from '../../src/content/peer-id.ts';
import type { KadDirectoryOptions } from '../../src/discovery/kad/kad-directory.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';

/** A peer ID that is the same in every run; its key is nobody's. */
export function testPeer(name: string | number): PeerId {
  const key = hash('sha256', `peer ${name}`, 'buffer');
  const peer = findPeerId(base58btc.baseEncode(Buffer.concat([Buffer.from('002408011220', 'hex'), key])));
  if (peer === undefined) throw new TypeError('not a peer ID');
  return peer;
}

export function testDigest(name: string | number): Digest {
  return digestOf(Buffer.from(`blob ${name}`));
}

export const directoryOptions: KadDirectoryOptions = {
  replicas: 3,
  leaseMs: 7_200_000,
  graceMs: 30_000,
  maxRecords: 1_000_000,
  maxRecordsPerPeer: 200_000,
  refreshIntervalMs: 2_400_000,
  answerTimeoutMs: 1000,
  hedgeMs: 250,
  reshardDelayMs: 20,
  leaveTimeoutMs: 500,
  rootLookupTimeoutMs: 300,
  maxToldPerDigest: 2048,
  pushDelayMs: 15,
  latePushDelayMs: 60,
  maxPushesPerPeer: 20_000,
  expireIntervalMs: 5000,
  openTimeoutMs: 5000,
  requestTimeoutMs: 10_000,
  requestWindow: 4,
  maxQueuedRequests: 256,
  retryMinMs: 50,
  retryMaxMs: 30_000,
};
