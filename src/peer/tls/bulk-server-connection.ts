import type { Duplex } from 'node:stream';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import { PeerError } from '../errors.ts';
import { type AnswerStatus, formatAnswerHead } from './answer-head.ts';
import { endOfHead, type HeadFault, maxRequestHeadBytes, type RequestHead, readRequestHead } from './request-head.ts';
import type { RunSender } from './run-sender.ts';

/** Answers what comes on connections; for each call one `reply`, or one `sendRun` with `proceed` behind it, or a `cut`. */
export interface RequestHandler {
  answer(request: RequestHead, connection: BulkServerConnection): void;
  /** Answers what is no request, or (`late`) did not become one in time; the connection ends behind it. */
  refuse(fault: HeadFault | 'late', connection: BulkServerConnection): void;
}

export interface ServerConnectionOptions {
  /** For the whole head of a request, from its first byte; also how long the first one may be waited for. */
  readonly headersTimeoutMs: number;
  /** How long a connection is kept between requests, at the least. */
  readonly keepAliveMs: number;
  /** Longest time in which a peer takes no byte. */
  readonly stallTimeoutMs: number;
  /** Longest time one run may take. */
  readonly transferTimeoutMs: number;
}

/**
 * The server's end of one connection whose peer is known: requests in, one at a time and in order, answers out. Waits for a head,
 * answers, waits again; ends when the peer leaves, half of it included, when an answer was the last, or when something took too
 * long. Held in memory: at most one head beyond the request being answered; a peer that sends more is cut.
 *
 * What costs is made once for each connection and not for each request: listeners, and one signal, since whatever aborts a request ends
 * the connection. There is no timer; the server asks now and then (`check`).
 */
export class BulkServerConnection {
  readonly peer: PeerId;
  readonly #socket: Duplex;
  readonly #clock: Clock;
  readonly #options: ServerConnectionOptions;
  readonly #handler: RequestHandler;
  readonly #ending = new AbortController();
  #stage: 'head' | 'answer' | 'closing' | 'ended' = 'head';
  /** What has arrived and is no part of a request that was handed on, one character for each byte. */
  #unread = '';
  #isLast = false;
  #isGivenUp = false;
  #deadlineMs: number;
  #onCut: ((reason: unknown) => void) | undefined;
  #sender: RunSender | undefined;
  #sampledMs = 0;
  #sampledBytes: number | undefined;

  constructor(socket: Duplex, peer: PeerId, clock: Clock, options: ServerConnectionOptions, handler: RequestHandler) {
    this.peer = peer;
    this.#socket = socket;
    this.#clock = clock;
    this.#options = options;
    this.#handler = handler;
    // Connections are made before there is something to ask for.
    this.#deadlineMs = clock.nowMs() + options.keepAliveMs;
    // 'close' follows.
    socket.on('error', () => {});
    socket.on('close', () => this.#onLeft());
    socket.on('end', () => this.#onLeft());
    socket.on('data', (bytes: Buffer) => this.#onBytes(bytes));
  }

  /** Aborts when the connection ends. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** Whether nothing is asked, not even in part. */
  get isIdle(): boolean {
    return this.#stage === 'head' && this.#unread === '';
  }

  /** Whether this end had enough: something took too long, or the peer sent too much. */
  get isGivenUp(): boolean {
    return this.#isGivenUp;
  }

  /** Waits for what an answer needs, but not longer than the connection lasts. */
  whileOpen<Value>(work: Promise<Value>): Promise<Value> {
    return new Promise((resolve, reject) => {
      if (this.signal.aborted) reject(this.signal.reason);
      this.#onCut = reject;
      work.then(resolve, reject);
    });
  }

  /** Answers without a body. */
  reply(status: AnswerStatus, headers = ''): void {
    if (this.#stage !== 'answer') return;
    this.#socket.write(
      formatAnswerHead(status, `${headers}content-length: 0\r\n`, this.#keptMs),
      'latin1',
      this.#onReplied,
    );
    this.#deadlineMs = this.#clock.nowMs() + this.#options.stallTimeoutMs;
  }

  /** Answers like `reply`, and nothing more on this connection. */
  replyLast(status: AnswerStatus): void {
    this.#isLast = true;
    this.#unread = '';
    this.reply(status);
  }

  /** Sends the answer's head and the bytes of a run; after it, and whatever else is to be done before the next request, `proceed`. */
  sendRun(headers: string, sender: RunSender): Promise<void> {
    if (this.signal.aborted) return Promise.reject(this.signal.reason);
    const nowMs = this.#clock.nowMs();
    this.#deadlineMs = nowMs + this.#options.transferTimeoutMs;
    this.#sampledMs = nowMs;
    this.#sampledBytes = undefined;
    this.#sender = sender;
    return sender.send(this.#socket, formatAnswerHead(206, headers, this.#keptMs), this.signal);
  }

  /** Takes up the next request. */
  proceed(): void {
    if (this.#stage !== 'answer') return;
    this.#onCut = undefined;
    this.#sender = undefined;
    if (this.#isLast) {
      this.#close();
      return;
    }
    this.#stage = 'head';
    if (this.#unread !== '') this.#begin(true);
    else this.#deadlineMs = this.#clock.nowMs() + this.#options.keepAliveMs;
  }

  /** Ends at once, whatever is under way. */
  cut(reason: unknown): void {
    if (this.#stage === 'ended') return;
    this.#stage = 'ended';
    this.#unread = '';
    this.#ending.abort(reason);
    this.#onCut?.(reason);
    this.#sender?.cut(reason);
    this.#socket.destroy();
  }

  /** Ends what takes too long, but for an idle connection that may stay; called a few times within the shortest of the times. */
  check(nowMs: number, mayStay: () => boolean): void {
    if (this.#stage === 'ended') return;
    if (nowMs >= this.#deadlineMs) {
      if (this.isIdle && mayStay()) this.#deadlineMs = nowMs + this.#options.keepAliveMs;
      else this.#expire();
    } else if (this.#sender !== undefined && nowMs - this.#sampledMs >= this.#options.stallTimeoutMs) {
      const bytes = this.#sender.isWaitingForPeer ? this.#sender.sentBytes : undefined;
      if (bytes !== undefined && bytes === this.#sampledBytes) this.#giveUp('PEER_STALLED', 'takes no bytes');
      this.#sampledMs = nowMs;
      this.#sampledBytes = bytes;
    }
  }

  get #keptMs(): number | undefined {
    return this.#isLast ? undefined : this.#options.keepAliveMs;
  }

  readonly #onReplied = (error: Error | null | undefined) => {
    // With an error the socket closes, and that is heard.
    if (!error) this.proceed();
  };

  #onBytes(bytes: Buffer): void {
    // Behind the last request nothing is read; what comes is thrown away, so that the answer is not lost with it.
    if (this.#isLast || this.#stage === 'ended') return;
    const before = this.#unread.length;
    this.#unread += bytes.toString('latin1');
    if (this.#stage !== 'head') this.#checkUnread();
    else if (before === 0 || this.#mayBeComplete(before)) this.#begin(before === 0);
  }

  /**
   * A head is read when it begins, so that what is no HTTP hears so at once, and then when its end has come or it has grown too long:
   * reading it anew for every few bytes would let a stranger spend much of this node's time with little of its own.
   */
  #mayBeComplete(before: number): boolean {
    const from = Math.max(0, before - endOfHead.length + 1);
    return this.#unread.length >= maxRequestHeadBytes || this.#unread.includes(endOfHead, from);
  }

  /** Hands the next request on when its head is complete. */
  #begin(isFirst: boolean): void {
    const head = readRequestHead(this.#unread);
    if (head === undefined) {
      if (isFirst) this.#deadlineMs = this.#clock.nowMs() + this.#options.headersTimeoutMs;
      return;
    }
    if (typeof head === 'string') {
      this.#refuse(head);
      return;
    }
    this.#stage = 'answer';
    this.#deadlineMs = Number.POSITIVE_INFINITY;
    this.#isLast = head.isLast || head.hasBody;
    this.#unread = this.#isLast ? '' : this.#unread.slice(head.length);
    if (this.#checkUnread()) this.#handler.answer(head, this);
  }

  #refuse(fault: HeadFault | 'late'): void {
    this.#stage = 'answer';
    this.#isLast = true;
    this.#unread = '';
    this.#handler.refuse(fault, this);
  }

  #checkUnread(): boolean {
    if (this.#unread.length <= maxRequestHeadBytes) return true;
    this.#giveUp('PEER_OVERFLOW', 'sends requests faster than it takes answers');
    return false;
  }

  /** Ends in good order: the peer is told of the end behind what was written. */
  #close(): void {
    this.#stage = 'closing';
    this.#deadlineMs = this.#clock.nowMs() + this.#options.stallTimeoutMs;
    this.#socket.end(() => this.#socket.destroy());
  }

  #expire(): void {
    if (this.#stage !== 'head') {
      this.#giveUp('PEER_STALLED', this.#sender === undefined ? 'takes no answer' : 'takes too long for a run');
    } else if (this.#unread === '') {
      this.#giveUp('PEER_STALLED', 'asks for nothing more');
    } else {
      this.#refuse('late');
    }
  }

  #giveUp(code: 'PEER_STALLED' | 'PEER_OVERFLOW', what: string): void {
    this.#isGivenUp = true;
    const stage = this.#stage === 'head' ? 'headers' : 'body';
    this.cut(new PeerError(code, `${this.peer} ${what}`, { details: { peer: this.peer, stage } }));
  }

  #onLeft(): void {
    // The peer's half is closed behind a last answer; ours is on its way.
    if (this.#stage === 'closing' && !this.#socket.destroyed) return;
    this.cut(new PeerError('PEER_CUT', `${this.peer} left`, { details: { peer: this.peer } }));
  }
}
