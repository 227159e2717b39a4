import type { PrefixVerifiers } from '../content/prefix-verifier.ts';
import type { NodeIdentity } from '../content/signed-piece.ts';
import type { Directory } from '../discovery/directory.ts';
import type { Health } from '../health/health.ts';
import type { Clock, Random } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';
import type { Origin } from '../origin/origin.ts';
import type { BulkClient } from '../peer/bulk.ts';
import type { DirectChannels } from '../peer/direct-channels.ts';
import type { PeerNetwork } from '../peer/peer-network.ts';
import type { BlobStore } from '../store/blob-store.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Transfer } from './swarm.ts';

/** What the swarm of a node is made with. */
export interface SwarmDeps {
  readonly blobs: BlobStore;
  readonly origin: Origin;
  readonly directory: Directory;
  readonly network: PeerNetwork;
  readonly direct: DirectChannels;
  readonly bulk: BulkClient;
  readonly verifiers: PrefixVerifiers;
  readonly identity: NodeIdentity;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly health: Health;
  /** Hears each time that blobs begin to be fetched. */
  readonly onTransferStart?: () => void;
  /** Hears of every transfer that ended, to remember it beyond this life. */
  readonly onTransferEnd?: (transfer: Transfer) => void;
  /** The latest transfer of a blob that `onTransferEnd` heard of, in this life or an earlier one. */
  readonly findEarlierTransfer?: (digest: Digest) => Transfer | undefined;
  /** Tells which repository a stored blob belongs to, to fetch it again when it rots; absent = only those of this life are known. */
  readonly findRepository?: (digest: Digest) => Promise<Repository | undefined>;
}
