import type { PeerId } from '../../content/peer-id.ts';
import type { Clock, Random } from '../../lib/clock.ts';
import { isCode } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { TaskGroup } from '../../lib/task-group.ts';
import { PeerError } from '../../peer/errors.ts';
import type { PeerNetwork } from '../../peer/peer-network.ts';
import type { DigestKey } from '../digest-key.ts';
import type { Holding } from '../directory.ts';
import { type FoundAt, type FoundFor, maxDigestsPerMessage } from '../directory-protocol.ts';
import type { DiscoveryMetrics } from '../metrics.ts';
import { SetSummary } from '../set-summary.ts';
import { type LinkAnswer, type LinkRequest, TrackerLink, type TrackerLinkOptions } from './tracker-link.ts';

export interface TrackerShareDeps {
  readonly network: PeerNetwork;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: DiscoveryMetrics;
  readonly tasks: TaskGroup;
  holdingOf(key: DigestKey): Holding | undefined;
  onPush(found: readonly FoundFor[]): void;
  /** Told of answers that nobody waits for, to announcements repeated by a repair. */
  onFound(keys: readonly DigestKey[], found: readonly FoundAt[]): void;
  onUnreachable(peer: PeerId): void;
}

export interface TrackerShareOptions extends TrackerLinkOptions {
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

/** One failed opening may be a restart; after the second the tracker is passed over. */
const failuresUntilUnreachable = 2;

/**
 * What this node keeps recorded at one tracker, and the repair that makes it so. Whenever the tracker may remember something else
 * (channel opened, request failed, time to renew the lease) the two sides compare summaries:
 *
 *   same                  nothing to do
 *   differs               announce everything again
 *   differs still         the tracker has too much: make it forget, announce everything again
 */
export class TrackerShare {
  readonly peer: PeerId;
  readonly #deps: TrackerShareDeps;
  readonly #options: TrackerShareOptions;
  readonly #link: TrackerLink;
  readonly #assigned = new Set<DigestKey>();
  readonly #summary = new SetSummary();
  #failures = 0;
  #notBeforeMs = 0;
  #isStale = false;
  #isRepairing = false;
  #isClosed = false;
  #cancelRetry: (() => void) | undefined;

  constructor(peer: PeerId, deps: TrackerShareDeps, options: TrackerShareOptions) {
    this.peer = peer;
    this.#deps = deps;
    this.#options = options;
    this.#link = new TrackerLink(
      peer,
      {
        ...deps,
        onOpen: () => this.retryNow(),
        onClose: () => this.repair(),
      },
      options,
    );
  }

  get size(): number {
    return this.#assigned.size;
  }

  get isIdle(): boolean {
    return this.#assigned.size === 0 && this.#link.isIdle && !this.#isRepairing;
  }

  assign(key: DigestKey, holding: Holding): void {
    if (this.#assigned.has(key)) return;
    this.#assigned.add(key);
    this.#summary.add(key, holding);
  }

  unassign(key: DigestKey, holding: Holding): void {
    if (this.#assigned.delete(key)) this.#summary.remove(key, holding);
  }

  change(key: DigestKey, before: Holding, after: Holding): void {
    if (before === after || !this.#assigned.has(key)) return;
    this.#summary.remove(key, before);
    this.#summary.add(key, after);
  }

  /** Asks the tracker; fails at once while it is known not to answer. @throws as `TrackerLink.request` */
  async ask(message: LinkRequest): Promise<LinkAnswer> {
    const { clock, metrics, logger } = this.#deps;
    try {
      if (!this.#link.isOpen && clock.nowMs() < this.#notBeforeMs) {
        throw new PeerError('PEER_UNREACHABLE', 'tracker could not be reached a moment ago', {
          details: { peer: this.peer },
        });
      }
      const answer = await this.#link.request(message);
      metrics.requests.add(1, { kind: message.kind, result: answer.isFull ? 'full' : 'ok' });
      return answer;
    } catch (error) {
      metrics.requests.add(1, { kind: message.kind, result: 'failed' });
      if (!isCode(error, 'DISCOVERY_STOPPED')) {
        logger.debug({ peer: this.peer, err: error }, 'tracker did not answer');
        this.#noteFailure();
        if (message.kind !== 'find') this.repair();
      }
      throw error;
    }
  }

  /** Makes the tracker remember what is assigned to it; retried by itself until it does. */
  repair(): void {
    this.#isStale = true;
    if (this.#isClosed || this.#isRepairing || this.#cancelRetry !== undefined) return;
    if (this.#assigned.size === 0 && !this.#link.isOpen) return;
    const waitMs = Math.max(0, this.#notBeforeMs - this.#deps.clock.nowMs());
    this.#cancelRetry = this.#deps.clock.schedule(waitMs, () => {
      this.#cancelRetry = undefined;
      if (this.#assigned.size === 0 && !this.#link.isOpen) return;
      this.#isRepairing = true;
      this.#deps.tasks.run(() => this.#repairNow());
    });
  }

  /** Forgets failures, because the peer is there (again), and repairs. */
  retryNow(): void {
    this.#failures = 0;
    this.#notBeforeMs = 0;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.repair();
  }

  /** Opens the channel before there is something to ask. */
  prepare(): void {
    this.#link.prepare();
  }

  /** Makes the tracker forget this node. */
  async leave(): Promise<void> {
    this.#assigned.clear();
    if (this.#link.isOpen) await this.#link.request({ kind: 'leave' });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelRetry?.();
    this.#link.close();
  }

  async #repairNow(): Promise<void> {
    const { metrics, logger } = this.#deps;
    this.#isStale = false;
    try {
      const result = await this.#reconcile();
      metrics.repairs.add(1, { result });
      if (result === 'differs') logger.debug({ peer: this.peer }, 'tracker keeps other records than announced');
    } catch {
      // `ask` has noted and counted the failure, and set the time of the next attempt.
      metrics.repairs.add(1, { result: 'failed' });
      this.#isStale = true;
    } finally {
      this.#isRepairing = false;
      if (this.#isStale) this.repair();
    }
  }

  async #reconcile(): Promise<'same' | 'announced' | 'reset' | 'full' | 'differs'> {
    if (await this.#isInSync()) return 'same';
    if (await this.#announceAll()) return 'full';
    if (await this.#isInSync()) return 'announced';
    await this.ask({ kind: 'leave' });
    await this.#announceAll();
    return (await this.#isInSync()) ? 'reset' : 'differs';
  }

  /** The summary is taken when the request is queued: everything announced before lies before it in the queue. */
  async #isInSync(): Promise<boolean> {
    const { isSame } = await this.ask({ kind: 'sync', summary: this.#summary.value() });
    return isSame;
  }

  async #announceAll(): Promise<boolean> {
    const all = [...this.#assigned];
    let isFull = false;
    for (let at = 0; at < all.length; at += maxDigestsPerMessage) {
      const entries = all.slice(at, at + maxDigestsPerMessage).flatMap((key) => {
        const holding = this.#assigned.has(key) ? this.#deps.holdingOf(key) : undefined;
        return holding === undefined ? [] : { key, holding };
      });
      const answer = await this.ask({ kind: 'announce', entries });
      isFull ||= answer.isFull;
      this.#deps.onFound(
        entries.map((entry) => entry.key),
        answer.found,
      );
    }
    return isFull;
  }

  #noteFailure(): void {
    const { clock, random } = this.#deps;
    const nowMs = clock.nowMs();
    // Requests that were queued together fail together: they count once.
    if (nowMs < this.#notBeforeMs) return;
    const ceilingMs = Math.min(this.#options.retryMaxMs, this.#options.retryMinMs * 2 ** this.#failures);
    this.#failures += 1;
    // At least half, so that a burst of callers does not find the tracker "tried again" at once.
    this.#notBeforeMs = nowMs + ceilingMs * (0.5 + random.next() / 2);
    if (this.#failures >= failuresUntilUnreachable) this.#deps.onUnreachable(this.peer);
  }
}
