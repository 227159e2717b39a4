import type { Connection, Stream } from '@libp2p/interface';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import { toError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { TaskGroup } from '../../lib/task-group.ts';
import { PeerError } from '../errors.ts';
import type { PeerMetrics } from '../peer-metrics.ts';
import { hostOf } from './address.ts';
import {
  decodeSessionMessage,
  encodeSessionMessage,
  type Hello,
  maxSessionMessageBytes,
  protocolMajor,
  protocolMinor,
  type RefusalReason,
  type SessionMessage,
} from './session-message.ts';
import { closeStream, encodeFrame, receiveMessages } from './stream-messages.ts';

export const sessionProtocol = '/shoal/session/1';

export interface SessionOptions {
  readonly version: string;
  /** From the open connection to the admitted peer. */
  readonly helloTimeoutMs: number;
  /** How often a silent peer is pinged. */
  readonly pingIntervalMs: number;
  /** Intervals without a byte from the peer after which it counts as dead. */
  readonly silentIntervals: number;
  readonly closeTimeoutMs: number;
}

export interface SessionDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: PeerMetrics;
  readonly tasks: TaskGroup;
  onAdmitted(session: Session): void;
  onClosed(session: Session): void;
}

/**
 * One connection's life: hello, admission, keep-alive, end. libp2p's dial resolves before the other side has had its say, so only
 * what passed the hello counts as a peer. The session's stream stays open for pings.
 */
export class Session {
  readonly connection: Connection;
  readonly peer: PeerId;
  readonly host: string;
  readonly isDialler: boolean;
  /** Resolves when the peer is admitted. @throws PEER_UNTRUSTED, PEER_UNREACHABLE */
  readonly admitted: Promise<void>;
  connectedAtMs = 0;
  channelCount = 0;
  readonly #deps: SessionDeps;
  readonly #options: SessionOptions;
  readonly #admission = Promise.withResolvers<void>();
  #state: 'greeting' | 'admitted' | 'closed' = 'greeting';
  #stream: Stream | undefined;
  #peerHello: Hello | undefined;
  #wasHeard = true;
  #silentIntervals = 0;
  #cancelTimer: () => void;

  constructor(connection: Connection, peer: PeerId, deps: SessionDeps, options: SessionOptions) {
    this.connection = connection;
    this.peer = peer;
    this.host = hostOf(connection.remoteAddr);
    this.isDialler = connection.direction === 'outbound';
    this.#deps = deps;
    this.#options = options;
    this.admitted = this.#admission.promise;
    this.admitted.catch(() => {});
    this.#cancelTimer = deps.clock.schedule(options.helloTimeoutMs, () =>
      this.#fail(this.#error('PEER_UNREACHABLE', 'the peer did not finish the hello in time', 'hello')),
    );
    connection.addEventListener('close', () => this.#onConnectionClosed(), { once: true });
    if (this.isDialler) deps.tasks.run((signal) => this.#greet(signal));
  }

  get isAdmitted(): boolean {
    return this.#state === 'admitted';
  }

  get peerVersion(): string | undefined {
    return this.#peerHello?.version;
  }

  /** Takes the session stream the dialler opened. */
  accept(stream: Stream): void {
    if (this.isDialler || this.#stream !== undefined) {
      stream.abort(new Error('a connection has one session'));
      return;
    }
    this.#stream = stream;
    this.#deps.tasks.run(() => this.#converse(stream));
  }

  /** Notes that the peer is alive. */
  heard(): void {
    this.#wasHeard = true;
  }

  /** Closes the connection in good order. */
  close(): void {
    this.#deps.tasks.run(() => this.connection.close().catch((error) => this.connection.abort(toError(error))));
  }

  async #greet(signal: AbortSignal): Promise<void> {
    try {
      // Ends at the hello timer at the latest: it aborts the connection.
      this.#stream = await this.connection.newStream(sessionProtocol, { signal });
    } catch (cause) {
      this.#fail(this.#error('PEER_UNREACHABLE', 'the peer refused the hello', 'hello', cause));
      return;
    }
    this.#send(this.#ownHello());
    await this.#converse(this.#stream);
  }

  async #converse(stream: Stream): Promise<void> {
    const options = { maxMessageBytes: maxSessionMessageBytes, onBytes: () => this.heard() };
    try {
      await receiveMessages(stream, options, (bytes) => this.#onMessage(decodeSessionMessage(bytes)));
    } catch (cause) {
      this.#fail(this.#error('PEER_UNREACHABLE', 'the peer broke the session protocol', 'protocol', cause));
    }
    // A connection without its session is dead or foreign.
    if (this.#state !== 'closed') this.close();
  }

  #onMessage(message: SessionMessage): void {
    switch (message.kind) {
      case 'hello':
        this.#onHello(message);
        return;
      case 'ready':
        if (this.isDialler || this.#peerHello === undefined) throw new Error('ready before hello');
        this.#admit();
        return;
      case 'refusal':
        this.#deps.logger.warn({ peer: this.peer, host: this.host, reason: message.reason }, 'peer refused the hello');
        this.#fail(this.#error('PEER_UNTRUSTED', `the peer refused the hello: ${message.reason}`, message.reason));
        return;
      case 'ping':
        this.#send({ kind: 'pong' });
        return;
      case 'pong':
        return;
    }
  }

  #onHello(hello: Hello): void {
    if (this.#peerHello !== undefined) throw new Error('hello twice');
    this.#peerHello = hello;
    if (hello.major !== protocolMajor) {
      const { version, major } = hello;
      this.#deps.logger.warn(
        { peer: this.peer, host: this.host, theirVersion: version, theirProtocol: major, ourProtocol: protocolMajor },
        'refused a peer that speaks another protocol version',
      );
      this.#refuse('version');
      return;
    }
    this.#send(this.isDialler ? { kind: 'ready' } : this.#ownHello());
    if (this.isDialler) this.#admit();
  }

  #ownHello(): Hello {
    return { kind: 'hello', major: protocolMajor, minor: protocolMinor, version: this.#options.version };
  }

  #refuse(reason: RefusalReason): void {
    this.#send({ kind: 'refusal', reason });
    this.#end(this.#error('PEER_UNTRUSTED', `the peer was refused: ${reason}`, reason), 'refused');
    const stream = this.#stream;
    this.#deps.tasks.run(async () => {
      if (stream !== undefined) await closeStream(stream, this.#deps.clock, this.#options.closeTimeoutMs);
      await this.connection.close().catch((error) => this.connection.abort(toError(error)));
    });
  }

  #admit(): void {
    if (this.#state !== 'greeting') return;
    this.#state = 'admitted';
    this.connectedAtMs = this.#deps.clock.wallMs();
    this.#deps.metrics.greetings.add(1, { outcome: 'admitted' });
    this.#cancelTimer();
    this.#keepAlive();
    this.#deps.onAdmitted(this);
    this.#admission.resolve();
  }

  /** Counts silent intervals and not time: a process that was itself stopped or starved must not blame its peers. */
  #keepAlive(): void {
    this.#cancelTimer = this.#deps.clock.schedule(this.#options.pingIntervalMs, () => {
      this.#silentIntervals = this.#wasHeard ? 0 : this.#silentIntervals + 1;
      if (this.#silentIntervals >= this.#options.silentIntervals) {
        this.#deps.metrics.silentDeaths.add(1);
        this.#deps.logger.debug({ peer: this.peer, host: this.host }, 'peer went silent');
        this.connection.abort(new Error('the peer went silent'));
        return;
      }
      if (!this.#wasHeard) this.#send({ kind: 'ping' });
      this.#wasHeard = false;
      this.#keepAlive();
    });
  }

  #send(message: SessionMessage): void {
    const stream = this.#stream;
    // A peer that does not read its pings hears nothing else either: nothing may pile up for it.
    if (stream === undefined || stream.writeBufferLength > maxSessionMessageBytes * 8) return;
    try {
      stream.send(encodeFrame(encodeSessionMessage(message)));
    } catch {
      // The stream is closing; its end is noticed by the reader.
    }
  }

  #fail(error: PeerError): void {
    this.#end(error, error.code === 'PEER_UNTRUSTED' ? 'refused' : 'failed');
    this.connection.abort(error);
  }

  #onConnectionClosed(): void {
    this.#end(this.#error('PEER_UNREACHABLE', 'the peer closed the connection during the hello', 'closed'), 'failed');
  }

  #end(error: PeerError, outcome: string): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'greeting') this.#deps.metrics.greetings.add(1, { outcome });
    this.#state = 'closed';
    this.#cancelTimer();
    this.#admission.reject(error);
    this.#deps.onClosed(this);
  }

  #error(code: 'PEER_UNREACHABLE' | 'PEER_UNTRUSTED', message: string, reason: string, cause?: unknown): PeerError {
    const address = this.connection.remoteAddr.toString();
    return new PeerError(code, message, { cause, details: { peer: this.peer, address, reason } });
  }
}
