import type { PeerId } from '../../content/peer-id.ts';
import { pieceRange, planPieces } from '../../content/piece-plan.ts';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { isCode, toError } from '../../lib/errors.ts';
import type { BulkAddress, BulkClient, PieceRequest, PieceRun, PieceSource } from '../bulk.ts';
import { PeerError } from '../errors.ts';
import type { MemoryNetworkHub } from './memory-network.ts';

/** The bulk plane inside one process: clients call the other node's piece source directly, over the links of the hub. */
export interface MemoryBulk {
  /** Serves a node's pieces; `isMember` decides who is let in (default: everybody). */
  serve(
    peer: PeerId,
    source: PieceSource,
    isMember?: (peer: PeerId) => boolean,
  ): { address: BulkAddress; stop(): void };
  createClient(self: PeerId): BulkClient;
}

export interface MemoryBulkOptions {
  readonly clock?: Clock;
  /** Longest time without a byte; by default as long as a patient operator would wait. */
  readonly stallMs?: number;
}

interface Server {
  readonly peer: PeerId;
  readonly source: PieceSource;
  readonly isMember: (peer: PeerId) => boolean;
  readonly stopping: AbortController;
}

export function createMemoryBulk(hub: MemoryNetworkHub, options: MemoryBulkOptions = {}): MemoryBulk {
  const servers = new Map<number, Server>();
  let lastPort = 0;
  return {
    serve(peer, source, isMember = () => true) {
      lastPort += 1;
      const port = lastPort;
      const stopping = new AbortController();
      servers.set(port, { peer, source, isMember, stopping });
      return {
        address: { host: 'memory', port },
        stop() {
          servers.delete(port);
          stopping.abort(new PeerError('PEER_CUT', 'the peer stopped', { details: { peer } }));
        },
      };
    },
    createClient: (self) => ({
      async fetchPieces(request, signal) {
        const server = servers.get(request.address.port);
        if (server === undefined || hub.link(self, server.peer) === 'cut') throw failure('PEER_UNREACHABLE', request);
        if (server.peer !== request.peer || !server.isMember(self)) throw failure('PEER_UNTRUSTED', request);
        await new Transfer(hub, self, server, request, options).run(signal);
      },
      prepare: () => {},
    }),
  };
}

class Transfer {
  readonly #hub: MemoryNetworkHub;
  readonly #self: PeerId;
  readonly #server: Server;
  readonly #request: PieceRequest;
  readonly #clock: Clock;
  readonly #stallMs: number;
  readonly #broken = new AbortController();
  #receivedBytes = 0;

  constructor(hub: MemoryNetworkHub, self: PeerId, server: Server, request: PieceRequest, options: MemoryBulkOptions) {
    this.#hub = hub;
    this.#self = self;
    this.#server = server;
    this.#request = request;
    this.#clock = options.clock ?? systemClock;
    this.#stallMs = options.stallMs ?? 30_000;
  }

  async run(caller: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([caller, this.#broken.signal, this.#server.stopping.signal]);
    const stopWatching = this.#hub.onLinkChange(() => {
      if (this.#hub.link(this.#self, this.#server.peer) === 'cut') this.#broken.abort(this.#failure('PEER_CUT'));
    });
    try {
      await this.#transfer(signal);
    } finally {
      stopWatching();
    }
  }

  async #transfer(signal: AbortSignal): Promise<void> {
    const { blob, first, count } = this.#request;
    const opened = this.#server.source.openPieces(this.#self, blob.digest, first, count, signal);
    // A run that opens after the caller left must give its slot back all the same.
    let isTaken = false;
    opened.then(
      (run) => {
        if (signal.aborted && !isTaken) run.release(0);
      },
      () => {},
    );
    const run = await this.#step(opened, 'headers', signal);
    isTaken = true;
    try {
      await this.#linkOpen('headers', signal);
      const isAsAsked = run.blob.sizeBytes === blob.sizeBytes && run.pieces.length === count;
      if (!isAsAsked || run.pieces.some((piece, at) => piece.index !== first + at))
        throw this.#failure('PEER_PROTOCOL');
      this.#request.onHead?.();
      for (const piece of run.pieces) {
        const bytes = await this.#readPiece(run, piece.index, signal);
        signal.throwIfAborted();
        await this.#request.onPiece(piece, bytes);
        signal.throwIfAborted();
      }
    } finally {
      run.release(this.#receivedBytes);
    }
  }

  async #readPiece(run: PieceRun, index: number, signal: AbortSignal): Promise<Uint8Array> {
    const { start, end } = pieceRange(planPieces(run.blob.sizeBytes), index);
    const bytes = new Uint8Array(end - start);
    for (let at = 0; at < bytes.length; ) {
      const until = Math.min(bytes.length, at + (run.stepBytes ?? bytes.length));
      await this.#step(run.throttle(until - at, signal), 'body', signal);
      const count = await this.#step(run.read(bytes.subarray(at, until), start + at), 'body', signal);
      if (count === 0) throw this.#failure('PEER_CUT');
      await this.#linkOpen('body', signal);
      at += count;
      this.#receivedBytes += count;
      this.#request.onProgress?.(count);
    }
    return bytes;
  }

  async #linkOpen(stage: string, signal: AbortSignal): Promise<void> {
    if (this.#hub.link(this.#self, this.#server.peer) !== 'paused') return;
    const opened = Promise.withResolvers<void>();
    const stopWatching = this.#hub.onLinkChange(() => {
      if (this.#hub.link(this.#self, this.#server.peer) !== 'paused') opened.resolve();
    });
    try {
      await this.#step(opened.promise, stage, signal);
    } finally {
      stopWatching();
    }
  }

  /** Waits for one thing, no longer than a stall and not past an abort; what the source throws becomes what a client would see. */
  #step<Value>(work: Promise<Value>, stage: string, signal: AbortSignal): Promise<Value> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        cancelTimer();
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = () => {
        settle();
        reject(signal.reason);
      };
      const cancelTimer = this.#clock.schedule(this.#stallMs, () => {
        settle();
        const error = this.#failure('PEER_STALLED', { stage });
        this.#broken.abort(error);
        reject(error);
      });
      signal.addEventListener('abort', onAbort, { once: true });
      work.then(
        (value) => {
          settle();
          resolve(value);
        },
        (error: unknown) => {
          settle();
          const isAnswer = isCode(error, 'PEER_ABSENT', 'PEER_BUSY');
          reject(signal.aborted ? signal.reason : isAnswer ? error : this.#failure('PEER_CUT', {}, toError(error)));
        },
      );
      if (signal.aborted) onAbort();
    });
  }

  #failure(code: PeerError['code'], details: Record<string, unknown> = {}, cause?: Error): PeerError {
    return failure(code, this.#request, { receivedBytes: this.#receivedBytes, ...details }, cause);
  }
}

function failure(
  code: PeerError['code'],
  request: PieceRequest,
  details: Record<string, unknown> = {},
  cause?: Error,
): PeerError {
  return new PeerError(code, `fetching pieces from ${request.peer} failed`, {
    cause,
    details: { peer: request.peer, digest: request.blob.digest, ...details },
  });
}
