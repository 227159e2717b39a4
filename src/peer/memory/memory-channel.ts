import type { PeerId } from '../../content/peer-id.ts';
import { PeerError } from '../errors.ts';
import { MessageQueue } from '../message-queue.ts';
import { type Channel, maxMessageBytes } from '../peer-network.ts';

export interface MemoryChannelOptions {
  /** Bytes sent and not delivered yet. */
  readonly maxSendQueueBytes: number;
  /** Bytes delivered and not consumed yet. */
  readonly maxReceiveQueueBytes: number;
}

/** Runs a delivery later, in order with all others of the same link and direction. */
export type Deliver = (delivery: () => void) => void;

/** One end of a channel inside the process. */
export class MemoryChannel implements Channel {
  readonly peer: PeerId;
  readonly #options: MemoryChannelOptions;
  readonly #deliver: Deliver;
  readonly #received: MessageQueue;
  readonly #closeListeners = new Set<() => void>();
  #other: MemoryChannel | undefined;
  #queuedBytes = 0;
  #isOpen = true;

  constructor(peer: PeerId, deliver: Deliver, options: MemoryChannelOptions) {
    this.peer = peer;
    this.#deliver = deliver;
    this.#options = options;
    this.#received = new MessageQueue(options.maxReceiveQueueBytes);
  }

  static join(left: MemoryChannel, right: MemoryChannel): void {
    left.#other = right;
    right.#other = left;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  send(message: Uint8Array): void {
    if (!this.#isOpen) throw new PeerError('PEER_CUT', 'channel is closed', { details: { peer: this.peer } });
    if (message.length > maxMessageBytes) throw new RangeError(`message of ${message.length} bytes is too long`);
    if (this.#queuedBytes + message.length > this.#options.maxSendQueueBytes) {
      this.close();
      throw new PeerError('PEER_OVERFLOW', 'send queue is full', { details: { peer: this.peer } });
    }
    // A Buffer's slice() would share its memory.
    const copy = new Uint8Array(message);
    this.#queuedBytes += copy.length;
    this.#deliver(() => {
      this.#queuedBytes -= copy.length;
      this.#other?.receive(copy);
    });
  }

  messages(): AsyncIterable<Uint8Array> {
    return this.#received.walk(() => this.close());
  }

  close(): void {
    if (!this.#isOpen) return;
    this.end(true);
    this.#deliver(() => this.#other?.end(false));
  }

  onClose(listener: () => void): void {
    if (this.#isOpen) this.#closeListeners.add(listener);
    else queueMicrotask(listener);
  }

  receive(message: Uint8Array): void {
    if (this.#isOpen && !this.#received.push(message)) this.close();
  }

  /** Closes this end alone, as a lost connection does. */
  end(discard: boolean): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#received.end(discard);
    for (const listener of this.#closeListeners) listener();
    this.#closeListeners.clear();
  }
}
