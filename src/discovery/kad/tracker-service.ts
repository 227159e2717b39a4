import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import { isCode } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { TaskGroup } from '../../lib/task-group.ts';
import type { Channel, PeerNetwork } from '../../peer/peer-network.ts';
import type { DigestKey } from '../digest-key.ts';
import type { Provider } from '../directory.ts';
import {
  type DirectoryRequest,
  decodeDirectoryMessage,
  directoryProtocol,
  encodeAnswer,
  encodePush,
  encodeSynced,
  type FoundAt,
  type FoundFor,
  type KeyedAnnouncement,
} from '../directory-protocol.ts';
import type { DiscoveryMetrics } from '../metrics.ts';
import type { Tracker, TrackerAnswer, TrackerOptions } from '../tracker.ts';
import { PushOutbox } from './push-outbox.ts';

export interface TrackerServiceDeps {
  readonly network: PeerNetwork;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: DiscoveryMetrics;
  readonly tasks: TaskGroup;
  readonly tracker: Tracker;
  /** Takes pushes meant for this node itself. */
  onPush(found: readonly FoundFor[]): void;
}

export interface TrackerServiceOptions extends TrackerOptions {
  /** How long arrivals are gathered before those who do not hear of them otherwise are told. */
  readonly pushDelayMs: number;
  /** The same where the newcomer was told of who fetches, and greets it: it may not reach everybody. */
  readonly latePushDelayMs: number;
  /** Providers waiting to be pushed to one peer; more are dropped, they are hints. */
  readonly maxPushesPerPeer: number;
  readonly expireIntervalMs: number;
}

/** Serves this node's tracker: to itself by calls, to others on the channels they open. */
export class TrackerService {
  readonly #deps: TrackerServiceDeps;
  readonly #options: TrackerServiceOptions;
  readonly #channels = new Map<PeerId, Channel>();
  readonly #soon: PushOutbox;
  readonly #late: PushOutbox;
  #cancelExpire: (() => void) | undefined;
  #stopServing: (() => void) | undefined;

  constructor(deps: TrackerServiceDeps, options: TrackerServiceOptions) {
    this.#deps = deps;
    this.#options = options;
    const { pushDelayMs, latePushDelayMs, maxPushesPerPeer: maxPerPeer } = options;
    const push = (target: PeerId, found: readonly FoundFor[]) => this.#push(target, found);
    this.#soon = new PushOutbox(deps.clock, { delayMs: pushDelayMs, maxPerPeer }, push);
    this.#late = new PushOutbox(deps.clock, { delayMs: latePushDelayMs, maxPerPeer }, push);
  }

  start(): void {
    this.#stopServing = this.#deps.network.handle(directoryProtocol, (channel) => {
      this.#deps.tasks.run(() => this.#serve(channel));
    });
    this.#scheduleExpire();
  }

  stop(): void {
    this.#stopServing?.();
    this.#soon.stop();
    this.#late.stop();
    this.#cancelExpire?.();
    for (const channel of this.#channels.values()) channel.close();
  }

  announce(peer: PeerId, entries: readonly KeyedAnnouncement[]): TrackerAnswer {
    return this.#deps.tracker.announce(peer, entries, this.#deps.clock.nowMs(), (key, provider, { told, untold }) => {
      for (const fetcher of untold) this.#queuePush(this.#soon, fetcher, key, provider);
      for (const fetcher of told) this.#queuePush(this.#late, fetcher, key, provider);
    });
  }

  find(peer: PeerId, keys: readonly DigestKey[]): readonly FoundAt[] {
    return this.#deps.tracker.find(peer, keys);
  }

  withdraw(peer: PeerId, keys: readonly DigestKey[]): void {
    this.#deps.tracker.withdraw(peer, keys);
  }

  /** Keeps this node's own records at its own tracker from ending. */
  renewSelf(): void {
    this.#deps.tracker.renew(this.#deps.network.self, this.#deps.clock.nowMs());
  }

  /** Walks one peer's channel. A peer has one: its newer channel takes the place of an older that it gave up. */
  async #serve(channel: Channel): Promise<void> {
    const { tracker, clock, logger, metrics } = this.#deps;
    const { peer } = channel;
    const older = this.#channels.get(peer);
    this.#channels.set(peer, channel);
    older?.close();
    tracker.attach(peer);
    try {
      for await (const bytes of channel.messages()) {
        const message = decodeDirectoryMessage(bytes);
        if (message.kind === 'answer' || message.kind === 'synced' || message.kind === 'push') break;
        for (const reply of this.#reply(peer, message)) channel.send(reply);
      }
    } catch (error) {
      if (isCode(error, 'WIRE_INVALID')) {
        metrics.protocolErrors.add(1);
        logger.warn({ peer, code: error.code, reason: error.message }, 'peer sent an invalid directory message');
      } else if (!isCode(error, 'PEER_CUT', 'PEER_OVERFLOW')) {
        throw error;
      }
    } finally {
      channel.close();
      if (this.#channels.get(peer) === channel) {
        this.#channels.delete(peer);
        this.#soon.forget(peer);
        this.#late.forget(peer);
        tracker.detach(peer, clock.nowMs());
      }
    }
  }

  #reply(peer: PeerId, message: DirectoryRequest): Uint8Array[] {
    const { tracker, clock } = this.#deps;
    switch (message.kind) {
      case 'announce': {
        const { found, isFull } = this.announce(peer, message.entries);
        return encodeAnswer(message.request, found, isFull);
      }
      case 'find':
        return encodeAnswer(message.request, this.find(peer, message.keys), false);
      case 'withdraw':
        this.withdraw(peer, message.keys);
        return encodeAnswer(message.request, [], false);
      case 'leave':
        tracker.leave(peer);
        return encodeAnswer(message.request, [], false);
      case 'sync':
        return [encodeSynced(message.request, tracker.sync(peer, message.summary, clock.nowMs()))];
    }
  }

  #queuePush(outbox: PushOutbox, target: PeerId, key: DigestKey, provider: Provider): void {
    if (target === this.#deps.network.self || this.#channels.has(target)) outbox.add(target, key, provider);
  }

  #push(target: PeerId, found: readonly FoundFor[]): void {
    const { tracker, metrics, network } = this.#deps;
    const entries = found.filter(({ key }) => tracker.isFetching(target, key));
    if (entries.length === 0) return;
    const count = entries.reduce((sum, { providers }) => sum + providers.length, 0);
    metrics.pushes.add(count, { direction: 'out' });
    if (target === network.self) {
      this.#deps.onPush(entries);
      return;
    }
    const channel = this.#channels.get(target);
    if (channel === undefined) return;
    try {
      for (const message of encodePush(entries)) channel.send(message);
    } catch (error) {
      if (!isCode(error, 'PEER_CUT', 'PEER_OVERFLOW')) throw error;
      this.#deps.logger.debug({ peer: target, code: error.code }, 'providers could not be pushed');
    }
  }

  #scheduleExpire(): void {
    const { tracker, clock, logger, metrics } = this.#deps;
    this.#cancelExpire = clock.schedule(this.#options.expireIntervalMs, () => {
      const over = tracker.expire(clock.nowMs());
      for (const peer of over) logger.debug({ peer }, 'lease of a peer has ended');
      metrics.trackerRecords.set(tracker.records);
      metrics.trackerPeers.set(tracker.peers);
      this.#scheduleExpire();
    });
  }
}
