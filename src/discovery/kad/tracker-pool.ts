import type { PeerId } from '../../content/peer-id.ts';
import { delay } from '../../lib/clock.ts';
import type { DigestKey } from '../digest-key.ts';
import type { Holding } from '../directory.ts';
import type { LinkAnswer, LinkRequest } from './tracker-link.ts';
import type { TrackerService } from './tracker-service.ts';
import { TrackerShare, type TrackerShareDeps, type TrackerShareOptions } from './tracker-share.ts';

// In a fleet that begins a pull together each node would otherwise open a channel to most others in its busiest moment.
const maxPrepared = 64;

// Two who dial each other at once have two connections for a moment; a channel on the one to be closed would not last.
const prepareAfterMs = 2_000;

/** All trackers this node talks to, itself included: its own is asked by calls, the others through their shares. */
export class TrackerPool {
  readonly #self: PeerId;
  readonly #service: TrackerService;
  readonly #deps: TrackerShareDeps;
  readonly #options: TrackerShareOptions;
  readonly #shares = new Map<PeerId, TrackerShare>();
  #preparing = 0;

  constructor(service: TrackerService, deps: TrackerShareDeps, options: TrackerShareOptions) {
    this.#self = deps.network.self;
    this.#service = service;
    this.#deps = deps;
    this.#options = options;
  }

  ask(peer: PeerId, message: LinkRequest): Promise<LinkAnswer> {
    return peer === this.#self ? Promise.resolve(this.#askSelf(message)) : this.#share(peer).ask(message);
  }

  assign(peer: PeerId, key: DigestKey, holding: Holding): void {
    if (peer !== this.#self) this.#share(peer).assign(key, holding);
  }

  unassign(peer: PeerId, key: DigestKey, holding: Holding): void {
    this.#shares.get(peer)?.unassign(key, holding);
  }

  change(peer: PeerId, key: DigestKey, before: Holding, after: Holding): void {
    this.#shares.get(peer)?.change(key, before, after);
  }

  /** Renews every lease, and compares what each tracker remembers. */
  refresh(): void {
    this.#service.renewSelf();
    for (const share of this.#shares.values()) share.repair();
  }

  /** Tries a tracker at once that has just connected, however often it failed before; and opens the channel to any, but not of too many. */
  peerConnected(peer: PeerId): void {
    this.#shares.get(peer)?.retryNow();
    const { network, tasks, clock } = this.#deps;
    if (this.#shares.size + this.#preparing >= maxPrepared) return;
    this.#preparing += 1;
    tasks.run(async (signal) => {
      try {
        await delay(clock, prepareAfterMs, signal);
        if (network.findPeer(peer) !== undefined) this.#share(peer).prepare();
      } finally {
        this.#preparing -= 1;
      }
    });
  }

  /** Gives up trackers that are neither used nor connected. */
  dropIdle(): void {
    for (const [peer, share] of this.#shares) {
      if (!share.isIdle || this.#deps.network.findPeer(peer) !== undefined) continue;
      share.close();
      this.#shares.delete(peer);
    }
  }

  async leave(): Promise<void> {
    await Promise.allSettled([...this.#shares.values()].map((share) => share.leave()));
  }

  close(): void {
    for (const share of this.#shares.values()) share.close();
    this.#shares.clear();
  }

  #share(peer: PeerId): TrackerShare {
    let share = this.#shares.get(peer);
    if (share === undefined) {
      share = new TrackerShare(peer, this.#deps, this.#options);
      this.#shares.set(peer, share);
    }
    return share;
  }

  #askSelf(message: LinkRequest): LinkAnswer {
    const answer = { found: [], isFull: false, isSame: true };
    switch (message.kind) {
      case 'announce':
        return { ...answer, ...this.#service.announce(this.#self, message.entries) };
      case 'find':
        return { ...answer, found: this.#service.find(this.#self, message.keys) };
      case 'withdraw':
        this.#service.withdraw(this.#self, message.keys);
        return answer;
      case 'leave':
      case 'sync':
        return answer;
    }
  }
}
