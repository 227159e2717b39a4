import type { PeerId } from '../content/peer-id.ts';
import type { Transfer } from './swarm.ts';

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

export class Ledger {
  readonly #accounts = new Map<PeerId, PeerAccount>();
  readonly #ended: Transfer[] = [];

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

  transferEnded(transfer: Transfer): void {
    this.#ended.push(transfer);
    if (this.#ended.length > keptTransfers) this.#ended.shift();
  }
}
