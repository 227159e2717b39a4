import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import { CodedError, isCode, toError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { TaskGroup } from '../../lib/task-group.ts';
import { PeerError } from '../../peer/errors.ts';
import type { Channel, PeerNetwork } from '../../peer/peer-network.ts';
import {
  type DirectoryReply,
  type DirectoryRequest,
  decodeDirectoryMessage,
  directoryProtocol,
  encodeRequest,
  type FoundAt,
  type FoundFor,
} from '../directory-protocol.ts';
import { DiscoveryError } from '../errors.ts';

export interface TrackerLinkDeps {
  readonly network: PeerNetwork;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tasks: TaskGroup;
  onPush(found: readonly FoundFor[]): void;
  /** The channel is there (again): what the tracker remembers may not be what was announced. */
  onOpen(): void;
  onClose(): void;
}

export interface TrackerLinkOptions {
  readonly openTimeoutMs: number;
  /** A tracker that leaves a request unanswered for so long is cut off. */
  readonly requestTimeoutMs: number;
  /** Requests sent and not answered. */
  readonly requestWindow: number;
  /** Requests waiting for the window; more are refused. */
  readonly maxQueuedRequests: number;
}

export interface LinkAnswer {
  readonly found: readonly FoundAt[];
  readonly isFull: boolean;
  /** Set by the answer to a sync. */
  readonly isSame: boolean;
}

type Unnumbered<Message> = Message extends unknown ? Omit<Message, 'request'> : never;
export type LinkRequest = Unnumbered<DirectoryRequest>;

interface Pending {
  readonly message: LinkRequest;
  readonly result: PromiseWithResolvers<LinkAnswer>;
  readonly found: FoundAt[];
  isFull: boolean;
  sentAtMs: number;
}

/**
 * The one channel to a tracker: opened by the first request at the latest, kept, requests pipelined in order within a window. When it closes,
 * everything unanswered fails at once; whoever asked decides what to do about it.
 */
export class TrackerLink {
  readonly #deps: TrackerLinkDeps;
  readonly #options: TrackerLinkOptions;
  readonly #peer: PeerId;
  readonly #queue: Pending[] = [];
  readonly #sent = new Map<number, Pending>();
  #channel: Channel | undefined;
  #isOpening = false;
  #isClosed = false;
  #lastRequest = 0;
  #cancelWatch: (() => void) | undefined;

  constructor(peer: PeerId, deps: TrackerLinkDeps, options: TrackerLinkOptions) {
    this.#peer = peer;
    this.#deps = deps;
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#channel?.isOpen === true;
  }

  get isIdle(): boolean {
    return this.#queue.length === 0 && this.#sent.size === 0;
  }

  /** Asks the tracker. @throws PEER_UNREACHABLE, PEER_CUT, PEER_STALLED, PEER_OVERFLOW, DISCOVERY_PROTOCOL, DISCOVERY_STOPPED */
  request(message: LinkRequest): Promise<LinkAnswer> {
    if (this.#isClosed) return Promise.reject(new DiscoveryError('DISCOVERY_STOPPED', 'directory has stopped'));
    if (this.#queue.length >= this.#options.maxQueuedRequests) {
      const details = { peer: this.#peer };
      return Promise.reject(new PeerError('PEER_OVERFLOW', 'too many requests wait for a tracker', { details }));
    }
    const result = Promise.withResolvers<LinkAnswer>();
    this.#queue.push({ message, result, found: [], isFull: false, sentAtMs: 0 });
    this.#pump();
    return result.promise;
  }

  /** Opens the channel before there is something to ask; nothing comes of it when that fails. */
  prepare(): void {
    if (!this.isOpen) this.#open();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#channel?.close();
    this.#fail(new DiscoveryError('DISCOVERY_STOPPED', 'directory has stopped'));
  }

  #pump(): void {
    const channel = this.#channel;
    if (channel?.isOpen !== true) {
      if (this.#queue.length > 0) this.#open();
      return;
    }
    while (this.#sent.size < this.#options.requestWindow) {
      const pending = this.#queue.shift();
      if (pending === undefined) break;
      this.#lastRequest = (this.#lastRequest + 1) >>> 0;
      pending.sentAtMs = this.#deps.clock.nowMs();
      this.#sent.set(this.#lastRequest, pending);
      try {
        channel.send(encodeRequest({ ...pending.message, request: this.#lastRequest }));
      } catch (error) {
        // The close of the channel fails everything that was sent; only a bug gets past it.
        if (!isCode(error, 'PEER_CUT', 'PEER_OVERFLOW')) throw error;
        channel.close();
        return;
      }
    }
    if (this.#sent.size > 0) this.#watch();
  }

  #open(): void {
    if (this.#isOpening || this.#isClosed) return;
    this.#isOpening = true;
    const { network, tasks, clock } = this.#deps;
    if (tasks.signal.aborted) {
      this.#isOpening = false;
      this.#fail(new DiscoveryError('DISCOVERY_STOPPED', 'directory has stopped'));
      return;
    }
    tasks.run(async (signal) => {
      const deadline = new AbortController();
      const cancel = clock.schedule(this.#options.openTimeoutMs, () => deadline.abort(this.#stalled('dial')));
      try {
        const opening = AbortSignal.any([signal, deadline.signal]);
        const channel = await network.openChannel(this.#peer, directoryProtocol, opening);
        this.#isOpening = false;
        if (this.#isClosed) channel.close();
        else this.#adopt(channel);
      } catch (error) {
        this.#isOpening = false;
        this.#fail(asFailure(error));
      } finally {
        cancel();
      }
    });
  }

  #adopt(channel: Channel): void {
    this.#channel = channel;
    channel.onClose(() => {
      this.#channel = undefined;
      this.#fail(new PeerError('PEER_CUT', 'tracker closed the channel', { details: { peer: this.#peer } }));
      if (!this.#isClosed) this.#deps.onClose();
    });
    this.#deps.tasks.run(() => this.#receive(channel));
    this.#pump();
    this.#deps.onOpen();
  }

  async #receive(channel: Channel): Promise<void> {
    try {
      for await (const bytes of channel.messages()) {
        const message = decodeDirectoryMessage(bytes);
        if (message.kind === 'push') this.#deps.onPush(message.found);
        else if (message.kind === 'answer' || message.kind === 'synced') this.#settle(message);
        else throw new DiscoveryError('DISCOVERY_PROTOCOL', `tracker sent ${message.kind}`);
      }
    } catch (error) {
      if (!isCode(error, 'WIRE_INVALID', 'DISCOVERY_PROTOCOL')) throw error;
      this.#deps.logger.warn({ peer: this.#peer, code: error.code, reason: error.message }, 'tracker is cut off');
    } finally {
      channel.close();
    }
  }

  #settle(message: Exclude<DirectoryReply, { kind: 'push' }>): void {
    const pending = this.#sent.get(message.request);
    if (pending === undefined) throw new DiscoveryError('DISCOVERY_PROTOCOL', 'tracker answered what nobody asked');
    if (message.kind === 'answer') {
      for (const entry of message.found) pending.found.push(entry);
      pending.isFull ||= message.isFull;
      if (pending.found.length > entryCount(pending.message)) {
        throw new DiscoveryError('DISCOVERY_PROTOCOL', 'tracker answered more than was asked');
      }
      if (!message.isLast) return;
    }
    this.#sent.delete(message.request);
    const isSame = message.kind === 'synced' && message.isSame;
    pending.result.resolve({ found: pending.found, isFull: pending.isFull, isSame });
    if (this.#sent.size === 0) this.#unwatch();
    this.#pump();
  }

  #fail(error: CodedError): void {
    this.#unwatch();
    const failed = [...this.#sent.values(), ...this.#queue.splice(0)];
    this.#sent.clear();
    for (const pending of failed) pending.result.reject(error);
  }

  /** Answers come in order, so the oldest request alone tells whether the tracker is alive. */
  #watch(): void {
    if (this.#cancelWatch !== undefined) return;
    const oldest = this.#sent.values().next().value;
    if (oldest === undefined) return;
    const { clock, logger } = this.#deps;
    const waitMs = oldest.sentAtMs + this.#options.requestTimeoutMs - clock.nowMs();
    this.#cancelWatch = clock.schedule(Math.max(1, waitMs), () => {
      this.#cancelWatch = undefined;
      const first = this.#sent.values().next().value;
      if (first === undefined) return;
      if (clock.nowMs() - first.sentAtMs < this.#options.requestTimeoutMs) {
        this.#watch();
        return;
      }
      logger.debug({ peer: this.#peer }, 'tracker does not answer');
      this.#fail(this.#stalled('body'));
      this.#channel?.close();
    });
  }

  #unwatch(): void {
    this.#cancelWatch?.();
    this.#cancelWatch = undefined;
  }

  #stalled(stage: 'dial' | 'body'): PeerError {
    return new PeerError('PEER_STALLED', 'tracker does not answer', { details: { peer: this.#peer, stage } });
  }
}

function entryCount(message: LinkRequest): number {
  if (message.kind === 'announce') return message.entries.length;
  return message.kind === 'find' ? message.keys.length : 0;
}

function asFailure(error: unknown): CodedError {
  if (error instanceof CodedError) return error;
  return new PeerError('PEER_UNREACHABLE', 'cannot open a channel to a tracker', { cause: toError(error) });
}
