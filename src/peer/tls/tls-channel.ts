import type { TLSSocket } from 'node:tls';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import { PeerError } from '../errors.ts';
import { MessageQueue } from '../message-queue.ts';
import type { PeerMetrics } from '../peer-metrics.ts';
import { type Channel, maxMessageBytes } from '../peer-network.ts';
import { FrameSplitter, frameOf } from './channel-frames.ts';
import { keepAliveAfterMs } from './keep-alive.ts';

export interface TlsChannelOptions {
  /** Bytes of frames the kernel has not taken yet. */
  readonly maxSendQueueBytes: number;
  /** Bytes of messages not consumed yet; beyond it nothing is read and the sender's own bound decides. */
  readonly maxReceiveQueueBytes: number;
  /** How long a closed channel may take to flush before it is cut. */
  readonly closeTimeoutMs: number;
}

export interface TlsChannelDeps {
  readonly peer: PeerId;
  /** Secured, its peer proved, and not read from yet. */
  readonly socket: TLSSocket;
  readonly metrics: PeerMetrics;
  readonly clock: Clock;
}

/** A channel on a TLS connection of its own: each message behind its length, as on a stream of libp2p. */
export class TlsChannel implements Channel {
  readonly peer: PeerId;
  readonly #socket: TLSSocket;
  readonly #deps: TlsChannelDeps;
  readonly #options: TlsChannelOptions;
  readonly #received: MessageQueue;
  readonly #splitter = new FrameSplitter(maxMessageBytes);
  readonly #closeListeners = new Set<() => void>();
  #isOpen = true;
  #isPaused = false;

  constructor(deps: TlsChannelDeps, options: TlsChannelOptions) {
    this.peer = deps.peer;
    this.#socket = deps.socket;
    this.#deps = deps;
    this.#options = options;
    this.#received = new MessageQueue(options.maxReceiveQueueBytes);
    const { socket } = deps;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, keepAliveAfterMs);
    // What was wrong is in the close that follows; a channel's end never means success.
    socket.on('error', () => {});
    socket.on('end', () => socket.destroy());
    socket.on('close', () => this.#finish(false));
    socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    if (socket.destroyed) this.#finish(false);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  send(message: Uint8Array): void {
    if (message.length > maxMessageBytes) throw new RangeError(`message of ${message.length} bytes is too long`);
    if (!this.#isOpen) throw this.#cut();
    const frame = frameOf(message);
    if (this.#socket.writableLength + frame.length > this.#options.maxSendQueueBytes) {
      this.#deps.metrics.channelOverflows.add(1);
      this.#cutOff();
      throw new PeerError('PEER_OVERFLOW', 'send queue is full', { details: { peer: this.peer } });
    }
    this.#socket.write(frame);
    this.#deps.metrics.channelMessages.add(1, { direction: 'sent' });
    this.#deps.metrics.channelBytes.add(message.length, { direction: 'sent' });
  }

  messages(): AsyncIterable<Uint8Array> {
    return this.#received.walk(() => this.close());
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#finish(true);
    // A peer that takes nothing would keep the socket, and what waits in it, for ever.
    const cancel = this.#deps.clock.schedule(this.#options.closeTimeoutMs, () => this.#socket.destroy());
    this.#socket.once('close', cancel);
    this.#socket.end();
    // Its end is not seen by a socket that is not read.
    this.#socket.resume();
  }

  onClose(listener: () => void): void {
    if (this.#isOpen) this.#closeListeners.add(listener);
    else queueMicrotask(listener);
  }

  #receive(bytes: Buffer): void {
    if (!this.#isOpen) return;
    try {
      for (const message of this.#splitter.split(bytes)) {
        this.#deps.metrics.channelMessages.add(1, { direction: 'received' });
        this.#deps.metrics.channelBytes.add(message.length, { direction: 'received' });
        // One read brings 64 KiB at most: more than the room that is kept free means the bound was set too low.
        if (this.#received.push(message)) continue;
        this.#cutOff();
        return;
      }
    } catch {
      // A frame over the bound: nothing after it can be read.
      this.#cutOff();
      return;
    }
    const roomBytes = this.#options.maxReceiveQueueBytes - maxMessageBytes;
    if (this.#received.bytes <= roomBytes || this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
    this.#received.drained(roomBytes).then(() => {
      this.#isPaused = false;
      if (!this.#socket.destroyed) this.#socket.resume();
    });
  }

  #cutOff(): void {
    this.#finish(true);
    this.#socket.destroy();
  }

  #finish(discard: boolean): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#received.end(discard);
    for (const listener of this.#closeListeners) listener();
    this.#closeListeners.clear();
  }

  #cut(): PeerError {
    return new PeerError('PEER_CUT', 'channel is closed', { details: { peer: this.peer, receivedBytes: 0 } });
  }
}
