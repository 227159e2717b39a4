import type { PeerId } from '../content/peer-id.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobRequest, Transfer } from './swarm.ts';

/** What was exchanged with whom, and the transfers that ended lately. Bounded on both sides. */
export interface PeerAccount {
  received: number;
  sent: number;
  rejected: number;
}

// What an operator's page shows of the past.
const keptTransfers = 256;
// A fleet of thousands, not whoever ever came by.
const keptPeers = 8192;

// A client that tries again, a node that is restarted, an origin that was away: later it is another pull.
const sameTransferMs = 300_000;

export class Ledger {
  readonly #accounts = new Map<PeerId, PeerAccount>();
  readonly #ended: Transfer[] = [];
  readonly #findEarlier: (digest: Digest) => Transfer | undefined;

  /** `findEarlier` knows the transfers of earlier lives of this node. */
  constructor(findEarlier: (digest: Digest) => Transfer | undefined = () => undefined) {
    this.#findEarlier = findEarlier;
  }

  get ended(): readonly Transfer[] {
    return this.#ended;
  }

  get accounts(): ReadonlyMap<PeerId, PeerAccount> {
    return this.#accounts;
  }

  accountOf(peer: PeerId): PeerAccount {
    let account = this.#accounts.get(peer);
    if (account === undefined) {
      if (this.#accounts.size >= keptPeers) this.#accounts.clear();
      account = { received: 0, sent: 0, rejected: 0 };
      this.#accounts.set(peer, account);
    }
    return account;
  }

  /** Takes out the latest transfer of a blob if it failed a moment ago: whoever fetches the blob now goes on with it. */
  takeFailed({ digest, sizeBytes }: BlobRequest, nowWallMs: number): Transfer | undefined {
    const at = this.#ended.findLastIndex((transfer) => transfer.digest === digest);
    const transfer = this.#ended[at] ?? this.#findEarlier(digest);
    if (transfer?.state !== 'failed' || transfer.sizeBytes !== sizeBytes) return undefined;
    const { startedAtMs, endedAtMs = Number.POSITIVE_INFINITY } = transfer;
    // The clock of the machine may have been set.
    if (startedAtMs > endedAtMs || endedAtMs > nowWallMs || nowWallMs - endedAtMs > sameTransferMs) return undefined;
    if (at >= 0) this.#ended.splice(at, 1);
    return transfer;
  }

  transferEnded(transfer: Transfer): void {
    this.#ended.push(transfer);
    if (this.#ended.length > keptTransfers) this.#ended.shift();
  }
}

export function logFieldsOf(transfer: Transfer): object {
  const { repository, peers } = transfer;
  return { ...transfer, repository: `${repository.namespace}/${repository.name}`, peers: peers.length };
}
