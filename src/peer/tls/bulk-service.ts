import type { PeerId } from '../../content/peer-id.ts';
import type { BufferPool } from '../../lib/buffer-pool.ts';
import { isCode, toError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import { TaskGroup } from '../../lib/task-group.ts';
import type { PieceRun, PieceSource } from '../bulk.ts';
import { formatRunHeaders } from './answer-head.ts';
import type { BulkServerMetrics } from './bulk-metrics.ts';
import { findRange, findRunRequest, type RunRequest, retryAfterHeader } from './bulk-request.ts';
import type { BulkServerConnection, RequestHandler } from './bulk-server-connection.ts';
import { maxRunPieces } from './piece-header.ts';
import type { HeadFault, RequestHead } from './request-head.ts';
import { RunSender } from './run-sender.ts';

export interface BulkServiceDeps {
  readonly source: PieceSource;
  /** Whether a peer is of the fleet and not banned; asked for every request. */
  isMember(peer: PeerId): boolean;
  readonly logger: Logger;
  readonly metrics: BulkServerMetrics;
  readonly pool: BufferPool;
}

export interface BulkServiceOptions {
  /** Runs being opened or sent, from all peers; each holds up to three buffers. */
  readonly maxRequests: number;
  readonly maxRequestsPerPeer: number;
  /** Size of one read and one write. */
  readonly chunkBytes: number;
  /** What a peer is told to wait when this server, and not its source, is full. */
  readonly retryAfterMs: number;
}

const faultStatuses = { broken: 400, tooLong: 431, late: 408 } as const;

/**
 * Decides about the requests of all connections: who may ask, how many at once, what the answer is. A run that the source has
 * opened is released exactly once, whenever and however its request ends.
 */
export class BulkService implements RequestHandler {
  readonly #deps: BulkServiceDeps;
  readonly #options: BulkServiceOptions;
  readonly #tasks: TaskGroup;
  readonly #active = new Map<PeerId, number>();
  #activeCount = 0;

  constructor(deps: BulkServiceDeps, options: BulkServiceOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#tasks = new TaskGroup((error) => deps.logger.warn({ err: error }, 'bulk server task failed'));
  }

  answer(request: RequestHead, connection: BulkServerConnection): void {
    this.#tasks.run(async () => {
      try {
        await this.#answer(request, connection);
      } catch (error) {
        connection.cut(error);
        throw error;
      }
    });
  }

  refuse(fault: HeadFault | 'late', connection: BulkServerConnection): void {
    this.#count('invalid');
    connection.reply(faultStatuses[fault]);
  }

  /** Resolves when no request is left; the connections have been cut before. */
  stop(): Promise<void> {
    return this.#tasks.stop();
  }

  async #answer(request: RequestHead, connection: BulkServerConnection): Promise<void> {
    const { peer } = connection;
    if (!this.#deps.isMember(peer)) {
      this.#count('stranger');
      connection.replyLast(403);
      return;
    }
    const asked = findRunRequest(request.target);
    if (request.method !== 'GET' || request.hasBody || asked === undefined || asked.count > maxRunPieces) {
      this.#count('invalid');
      connection.reply(request.method === 'GET' ? 400 : 405);
      return;
    }
    const active = this.#active.get(peer) ?? 0;
    if (active >= this.#options.maxRequestsPerPeer || this.#activeCount >= this.#options.maxRequests) {
      this.#replyBusy(connection, this.#options.retryAfterMs);
      return;
    }
    this.#occupy(peer, 1);
    let isSent = false;
    try {
      isSent = await this.#serveRun(asked, request.range, connection);
    } finally {
      this.#occupy(peer, -1);
      if (isSent) connection.proceed();
    }
  }

  /** Whether the run was sent; if not, the connection has been answered otherwise or cut. */
  async #serveRun(asked: RunRequest, range: string | undefined, connection: BulkServerConnection): Promise<boolean> {
    const { peer, signal } = connection;
    const opening = this.#deps.source.openPieces(peer, asked.digest, asked.first, asked.count, signal);
    let run: PieceRun;
    try {
      run = await connection.whileOpen(opening);
    } catch (error) {
      // A source that opens the run after all must get its slot back.
      if (signal.aborted) opening.then((late) => late.release(0)).catch(() => {});
      this.#replyFailure(connection, error);
      return false;
    }
    const sender = new RunSender(run, this.#deps.pool, this.#options.chunkBytes, this.#onSent);
    try {
      if (!isRangeOf(run, range)) {
        this.#count('range');
        connection.reply(416, `content-range: bytes */${run.blob.sizeBytes}\r\n`);
        return false;
      }
      await connection.sendRun(formatRunHeaders(run), sender);
      this.#count('sent');
      return true;
    } catch (error) {
      const hasLeft = signal.aborted && !connection.isGivenUp;
      this.#count(hasLeft ? 'cut' : 'failed');
      if (!hasLeft) this.#deps.logger.debug({ peer, digest: asked.digest, err: toError(error) }, 'run not sent');
      connection.cut(error);
      return false;
    } finally {
      run.release(sender.sentBytes);
    }
  }

  readonly #onSent = (bytes: number) => this.#deps.metrics.sentBytes.add(bytes);

  #replyFailure(connection: BulkServerConnection, error: unknown): void {
    const { peer } = connection;
    if (connection.signal.aborted) {
      this.#count(connection.isGivenUp ? 'failed' : 'cut');
    } else if (isCode(error, 'PEER_ABSENT')) {
      this.#count('absent');
      connection.reply(404);
    } else if (isCode(error, 'PEER_BUSY')) {
      const { retryAfterMs } = error.details;
      this.#replyBusy(connection, typeof retryAfterMs === 'number' ? retryAfterMs : this.#options.retryAfterMs);
    } else {
      this.#deps.logger.warn({ peer, err: toError(error) }, 'cannot open pieces for a peer');
      this.#count('failed');
      connection.reply(500);
    }
  }

  #replyBusy(connection: BulkServerConnection, retryAfterMs: number): void {
    this.#count('busy');
    connection.reply(503, `${retryAfterHeader}: ${Math.ceil(retryAfterMs)}\r\n`);
  }

  #occupy(peer: PeerId, change: number): void {
    this.#activeCount += change;
    const active = (this.#active.get(peer) ?? 0) + change;
    if (active === 0) this.#active.delete(peer);
    else this.#active.set(peer, active);
    this.#deps.metrics.activeRequests.set(this.#activeCount);
  }

  #count(outcome: string): void {
    this.#deps.metrics.requests.add(1, { outcome });
  }
}

function isRangeOf(run: PieceRun, text: string | undefined): boolean {
  if (text === undefined) return true;
  const range = findRange(text);
  return range?.start === run.start && range.end === run.end;
}
