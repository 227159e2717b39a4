import type { Stream } from '@libp2p/interface';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import type { TaskGroup } from '../../lib/task-group.ts';
import { PeerError } from '../errors.ts';
import { MessageQueue } from '../message-queue.ts';
import type { PeerMetrics } from '../peer-metrics.ts';
import { type Channel, maxMessageBytes } from '../peer-network.ts';
import { sparseWindowUpdates } from './sparse-window-updates.ts';
import { closeStream, encodeFrame, receiveMessages } from './stream-messages.ts';

export interface ChannelOptions {
  /** Bytes of frames libp2p has not put on the wire yet. */
  readonly maxSendQueueBytes: number;
  /** Bytes of messages not consumed yet; beyond it the stream is paused and the sender's own bound decides. */
  readonly maxReceiveQueueBytes: number;
  /** How long a closed channel may take to flush before it is reset. */
  readonly closeTimeoutMs: number;
}

export interface ChannelDeps {
  readonly peer: PeerId;
  readonly stream: Stream;
  readonly clock: Clock;
  readonly tasks: TaskGroup;
  readonly metrics: PeerMetrics;
  onBytes(count: number): void;
}

/** A channel on a libp2p stream. */
export class StreamChannel implements Channel {
  readonly peer: PeerId;
  readonly #stream: Stream;
  readonly #deps: ChannelDeps;
  readonly #options: ChannelOptions;
  readonly #received: MessageQueue;
  readonly #closeListeners = new Set<() => void>();
  #isOpen = true;

  constructor(deps: ChannelDeps, options: ChannelOptions) {
    this.peer = deps.peer;
    this.#stream = deps.stream;
    this.#deps = deps;
    this.#options = options;
    this.#received = new MessageQueue(options.maxReceiveQueueBytes);
    sparseWindowUpdates(this.#stream);
    this.#stream.addEventListener('close', () => this.#finish(false), { once: true });
    if (this.#stream.status === 'open') deps.tasks.run(() => this.#receive());
    else this.#finish(false);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  send(message: Uint8Array): void {
    if (message.length > maxMessageBytes) throw new RangeError(`message of ${message.length} bytes is too long`);
    if (!this.#isOpen) throw this.#cut();
    const frame = encodeFrame(message);
    if (this.#stream.writeBufferLength + frame.length > this.#options.maxSendQueueBytes) {
      this.#deps.metrics.channelOverflows.add(1);
      const error = new PeerError('PEER_OVERFLOW', 'send queue is full', { details: { peer: this.peer } });
      this.#finish(true);
      this.#stream.abort(error);
      throw error;
    }
    try {
      this.#stream.send(frame);
    } catch (cause) {
      this.#finish(false);
      throw this.#cut(cause);
    }
    this.#deps.metrics.channelMessages.add(1, { direction: 'sent' });
    this.#deps.metrics.channelBytes.add(message.length, { direction: 'sent' });
  }

  messages(): AsyncIterable<Uint8Array> {
    return this.#received.walk(() => this.close());
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#finish(true);
    this.#closeStream();
  }

  onClose(listener: () => void): void {
    if (this.#isOpen) this.#closeListeners.add(listener);
    else queueMicrotask(listener);
  }

  async #receive(): Promise<void> {
    const roomBytes = this.#options.maxReceiveQueueBytes - maxMessageBytes;
    try {
      await receiveMessages(this.#stream, { maxMessageBytes, onBytes: this.#deps.onBytes }, async (message) => {
        this.#deps.metrics.channelMessages.add(1, { direction: 'received' });
        this.#deps.metrics.channelBytes.add(message.length, { direction: 'received' });
        this.#received.push(message);
        await this.#received.drained(roomBytes);
      });
    } catch (error) {
      // A frame over the bound, or one cut in the middle: nothing after it can be read.
      this.#stream.abort(error instanceof Error ? error : new Error('unreadable frame'));
    }
    if (this.#isOpen) {
      this.#finish(false);
      this.#closeStream();
    }
  }

  #closeStream(): void {
    this.#deps.tasks.run(() => closeStream(this.#stream, this.#deps.clock, this.#options.closeTimeoutMs));
  }

  #finish(discard: boolean): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#received.end(discard);
    for (const listener of this.#closeListeners) listener();
    this.#closeListeners.clear();
  }

  #cut(cause?: unknown): PeerError {
    return new PeerError('PEER_CUT', 'channel is closed', { cause, details: { peer: this.peer, receivedBytes: 0 } });
  }
}
