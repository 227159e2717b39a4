import type { Config } from '../../config/schema.ts';
import type { KadDirectoryOptions } from '../../discovery/kad/kad-directory.ts';
import type { RootPublisherOptions } from '../../discovery/kad/root-publisher.ts';
import type { MembershipOptions } from '../../discovery/membership/fleet-membership.ts';
import type { TagHintsOptions } from '../../discovery/tags/channel-tag-hints.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** A node that could not be reached is not asked as a tracker for so long, unless it connects. */
export const unreachableMs = minuteMs;

/** Soon enough for the first pull after a start; kad-dht waits a second by itself. */
export const initialQuerySelfIntervalMs = 1000;

/** libp2p's own default. */
export const mdnsQueryIntervalMs = 10_000;

/**
 * Numbers of the directory that all nodes of a fleet should share; they are no keys of the configuration, because a fleet in which
 * they differ works worse without anybody seeing why. Figures: docs/adr/0002-directory-batching.md.
 */
export const directoryOptions: KadDirectoryOptions = {
  // Two trackers may be gone and a digest is still found.
  replicas: 3,
  leaseMs: 120 * minuteMs,
  // Two refreshes may fail before the lease ends.
  refreshIntervalMs: 40 * minuteMs,
  // A connection that drops and comes back within this does not make a peer's records disappear.
  graceMs: 30_000,
  // About 120 bytes a record: 120 MB when full, which takes a fleet of thousands.
  maxRecords: 1_000_000,
  maxRecordsPerPeer: 200_000,
  answerTimeoutMs: 1000,
  hedgeMs: 250,
  // Nodes come in bursts when a fleet starts; each burst moves digests once.
  reshardDelayMs: 500,
  leaveTimeoutMs: 1000,
  // The trackers have said that they know nobody: a last look that the origin's first byte waits for.
  rootLookupTimeoutMs: 300,
  maxToldPerDigest: 2048,
  pushDelayMs: 200,
  // Whoever comes is answered with those before it and greets them itself: a fleet of N that starts together should not send N * N pushes
  // beside that in its busiest moment.
  latePushDelayMs: 2_000,
  maxPushesPerPeer: 20_000,
  // Far below the grace, so that a peer that is gone is not named for long after it; a look costs what has expired.
  expireIntervalMs: 5_000,
  openTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
  requestWindow: 4,
  maxQueuedRequests: 256,
  retryMinMs: 1_000,
  retryMaxMs: minuteMs,
};

export const tagHintsOptions: TagHintsOptions = {
  maxAsked: 8,
  timeoutMs: 1_000,
  graceMs: 50,
  hedgeMs: 300,
  manifestTimeoutMs: 5_000,
  maxChannels: 64,
  maxRequestsPerPeer: 32,
};

export const rootPublisherOptions: RootPublisherOptions = {
  // Longer than most pulls take.
  firstProvideMinMs: minuteMs,
  firstProvideMaxMs: 3 * minuteMs,
  // Records live 48 h in kad-dht; hints this old still have half their life before them.
  reprovideMinMs: 16 * hourMs,
  reprovideMaxMs: 24 * hourMs,
  provideTimeoutMs: 30_000,
  retryMinMs: 10_000,
  retryMaxMs: 30 * minuteMs,
  // A provide costs 100-250 ms of CPU over the fleet: one at a time is nobody's load.
  parallelProvides: 2,
  maxRoots: 50_000,
};

export function membershipOptions(config: Config): MembershipOptions {
  return {
    bootstrap: config.fleet.bootstrap,
    dialTimeoutMs: 10_000,
    // A fleet that starts together must find itself in the time a container engine takes to start.
    retryMinMs: 200,
    retryMaxMs: 30_000,
    resolveIntervalMs: minuteMs,
    maxConnections: config.peer.maxConnections,
    maxParallelDials: 20,
    maxMembers: 10_000,
    // A node that was drained and came back is still known; addresses that others have taken over since are not dialled for days.
    forgetAfterMs: hourMs,
    settleTimeoutMs: 5_000,
    exchangeIntervalMs: 30_000,
    exchangeTimeoutMs: 10_000,
  };
}
