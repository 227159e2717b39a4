import type { Socket } from 'node:net';
import { connect, type SecureContext, type TLSSocket } from 'node:tls';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import type { BulkAddress } from '../bulk.ts';
import { bulkProtocol } from './certificate.ts';
import { keepAliveAfterMs } from './keep-alive.ts';
import { provePeer } from './secure-dial.ts';

/** Takes what arrives on a connection while a request owns it. */
export interface ConnectionOwner {
  /** Gives bytes that are valid during the call only. */
  onBytes(bytes: Buffer): void;
  onClosed(cause: Error | undefined): void;
}

export interface ConnectDeps {
  readonly clock: Clock;
  readonly context: SecureContext;
}

/** A TLS record holds 16 KiB and each is delivered by itself; more room would stay empty. */
const readBufferBytes = 64 * 1024;

/**
 * A verified connection to one peer, owned by one request at a time. Reads through `onread` into one buffer: 'data' events cost
 * twice the CPU time (libp2p.md 2.1).
 */
export class BulkConnection {
  readonly #socket: TLSSocket;
  #owner: ConnectionOwner | undefined;
  #error: Error | undefined;
  #isClosed = false;
  #onIdleClose: (() => void) | undefined;
  #onStray: ((bytes: Buffer) => void) | undefined;

  private constructor(context: SecureContext, { host, port }: BulkAddress) {
    const options = {
      host,
      port,
      secureContext: context,
      ALPNProtocols: [bulkProtocol],
      // There is no CA: the certificate is checked for the peer ID in it.
      rejectUnauthorized: false,
      onread: {
        buffer: Buffer.allocUnsafeSlow(readBufferBytes),
        callback: (count: number, buffer: Uint8Array) => this.#onRead(count, buffer),
      },
    };
    this.#socket = connect(options);
    this.#socket.setNoDelay(true);
    this.#socket.setKeepAlive(true, keepAliveAfterMs);
    this.#socket.on('error', (error) => {
      this.#error = error;
    });
    this.#socket.on('end', () => this.#socket.destroy());
    this.#socket.on('close', () => this.#onClosed());
  }

  /**
   * Connects and proves who is there before anything is sent.
   * @throws PEER_UNREACHABLE, PEER_UNTRUSTED, PEER_STALLED
   */
  static async open(
    deps: ConnectDeps,
    peer: PeerId,
    address: BulkAddress,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<BulkConnection> {
    signal.throwIfAborted();
    const connection = new BulkConnection(deps.context, address);
    const target = { peer, address, protocol: bulkProtocol, timeoutMs };
    await provePeer(connection.#socket, target, deps.clock, signal);
    return connection;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Gives the connection to a request and sends its head. */
  send(owner: ConnectionOwner, head: string): void {
    this.#owner = owner;
    this.#onIdleClose = undefined;
    this.#onStray = undefined;
    this.#socket.write(head, 'latin1');
    if (this.#isClosed) queueMicrotask(() => owner.onClosed(this.#error));
  }

  /** Takes the connection back after a complete answer; whatever arrives now closes it, and its first bytes are told of. */
  rest(onClose: () => void, onStray: (bytes: Buffer) => void): void {
    this.#owner = undefined;
    this.#onIdleClose = onClose;
    this.#onStray = onStray;
    this.resume();
  }

  /** Stops reading; bytes already decrypted still arrive. */
  pause(): void {
    (this.#socket as Socket).pause();
  }

  resume(): void {
    (this.#socket as Socket).resume();
  }

  destroy(): void {
    this.#owner = undefined;
    this.#onStray = undefined;
    this.#socket.destroy();
  }

  #onRead(count: number, buffer: Uint8Array): boolean {
    const bytes = Buffer.from(buffer.buffer, buffer.byteOffset, count);
    if (this.#owner !== undefined) {
      this.#owner.onBytes(bytes);
      return true;
    }
    const onStray = this.#onStray;
    this.#onStray = undefined;
    this.#socket.destroy();
    onStray?.(bytes);
    return true;
  }

  #onClosed(): void {
    this.#isClosed = true;
    const owner = this.#owner;
    this.#owner = undefined;
    owner?.onClosed(this.#error);
    this.#onIdleClose?.();
  }
}
