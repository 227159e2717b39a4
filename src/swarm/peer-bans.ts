import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { PeerNetwork } from '../peer/peer-network.ts';
import { BanList, type BanReason } from './bans.ts';
import type { Scheduler } from './schedule/scheduler.ts';
import { type SilentRequest, Stalls, stallBanMs } from './stalls.ts';
import type { SwarmMetrics } from './swarm-metrics.ts';

/** Carries bans out: the peer is named in the log with what it did, asked for nothing more and, if its word is worth nothing, cut off. */
export interface PeerBansDeps {
  readonly self: PeerId;
  readonly clock: Clock;
  readonly network: PeerNetwork;
  readonly scheduler: Scheduler;
  readonly metrics: SwarmMetrics;
  readonly logger: Logger;
  readonly decideSoon: () => void;
}

export class PeerBans {
  readonly list: BanList;
  readonly #deps: PeerBansDeps;
  readonly #banMs: number;
  readonly #stalls: Stalls;

  constructor(
    deps: PeerBansDeps,
    options: { readonly banMs: number; readonly schedule: { readonly peerStallMs: number } },
  ) {
    this.#deps = deps;
    this.#banMs = options.banMs;
    this.list = new BanList(deps.clock, options);
    this.#stalls = new Stalls(deps.clock, options.schedule);
  }

  ban(peer: PeerId, reason: BanReason, evidence: string, forMs = this.#banMs): void {
    const { self, network, scheduler, metrics, logger, decideSoon } = this.#deps;
    if (peer === self || this.list.covers(peer, reason)) return;
    this.list.add(peer, reason, evidence, forMs);
    metrics.bans.add(1);
    logger.warn({ peer, reason, evidence }, 'peer banned');
    if (this.list.shuns(peer)) {
      for (const digest of scheduler.downloads.keys()) scheduler.distrust(digest, [], [peer]);
      decideSoon();
      return;
    }
    scheduler.ban(peer);
    // What it says of tags and providers is worth no more than its bytes.
    network.ban(peer, forMs);
    decideSoon();
  }

  moving(peer: PeerId): void {
    this.#stalls.moving(peer);
  }

  /** A request to it ended in which no byte came. */
  silent(request: SilentRequest): void {
    const evidence = this.#stalls.silent(request);
    if (evidence !== undefined) this.ban(request.peer, 'stalls', evidence, stallBanMs);
  }
}
