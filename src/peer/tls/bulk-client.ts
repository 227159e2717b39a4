import type { SecureContext } from 'node:tls';
import type { PeerId } from '../../content/peer-id.ts';
import { planPieces } from '../../content/piece-plan.ts';
import { BufferPool } from '../../lib/buffer-pool.ts';
import type { Clock } from '../../lib/clock.ts';
import { isCode } from '../../lib/errors.ts';
import { joinSignals } from '../../lib/join-signals.ts';
import type { Logger } from '../../lib/logger.ts';
import { raceAbort } from '../../lib/race-abort.ts';
import { Semaphore } from '../../lib/semaphore.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { BulkAddress, BulkClient, PieceRequest } from '../bulk.ts';
import type { PeerIdentity } from '../identity.ts';
import { BulkConnection } from './bulk-connection.ts';
import { type BulkClientMetrics, createBulkClientMetrics } from './bulk-metrics.ts';
import { createClientContext } from './certificate.ts';
import { maxRunPieces } from './piece-header.ts';
import { PieceTransfer, type TransferOptions } from './piece-transfer.ts';

export interface BulkClientDeps {
  readonly identity: PeerIdentity;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface BulkClientOptions extends TransferOptions {
  /** TCP, TLS and the check of the certificate. */
  readonly dialTimeoutMs: number;
  readonly maxConnectionsPerPeer: number;
  /** Connections kept for later, to all peers together. */
  readonly maxIdleConnections: number;
  /** Peers to each of whom one connection is kept for as long as it lasts, and made beforehand. */
  readonly maxKeptConnections: number;
  /** How long any other is kept; under the server's own limit. */
  readonly idleMs: number;
  /** All piece buffers together; without a free one nothing is read. */
  readonly bufferBytes: number;
  /** How long unused buffers are kept. */
  readonly bufferIdleMs: number;
}

/** Makes the receiving half of the bulk plane; disposing closes its idle connections. */
export function createBulkClient(deps: BulkClientDeps, options: BulkClientOptions): BulkClient & AsyncDisposable {
  return new TlsBulkClient(deps, options);
}

interface IdleConnection {
  readonly connection: BulkConnection;
  /** Absent for the one that is kept. */
  readonly cancelTimer: (() => void) | undefined;
}

/** The connections to one peer at one address. */
interface Lane {
  readonly slots: Semaphore;
  readonly idle: IdleConnection[];
  users: number;
  /** Settles when the connection that is being made beforehand is there, or cannot be had. */
  preparing: Promise<void> | undefined;
}

class TlsBulkClient implements BulkClient, AsyncDisposable {
  readonly #deps: BulkClientDeps;
  readonly #options: BulkClientOptions;
  readonly #metrics: BulkClientMetrics;
  readonly #pool: BufferPool;
  readonly #lanes = new Map<string, Lane>();
  readonly #stopping = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #context: Promise<SecureContext> | undefined;
  #idleCount = 0;
  /** Of these, those without an end. */
  #keptCount = 0;
  /** Connections being made before anybody asked for them. */
  #preparing = 0;

  constructor(deps: BulkClientDeps, options: BulkClientOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#metrics = createBulkClientMetrics(deps.metrics);
    this.#pool = new BufferPool(deps.clock, { maxBytes: options.bufferBytes, idleMs: options.bufferIdleMs });
  }

  async fetchPieces(request: PieceRequest, signal: AbortSignal): Promise<void> {
    checkRequest(request);
    const joined = joinSignals(signal, this.#stopping.signal);
    const running = this.#fetch(request, joined.signal).finally(() => joined[Symbol.dispose]());
    const settled = running.then(
      () => this.#metrics.fetches.add(1, { outcome: 'received' }),
      (error) => this.#metrics.fetches.add(1, { outcome: outcomeOf(error, signal) }),
    );
    this.#running.add(settled);
    void settled.finally(() => this.#running.delete(settled));
    await running;
  }

  prepare(peer: PeerId, address: BulkAddress): void {
    const key = laneKey(peer, address);
    const isEnough = this.#preparing + this.#keptCount >= this.#options.maxKeptConnections;
    if (this.#lanes.has(key) || isEnough || this.#stopping.signal.aborted) return;
    const lane = this.#takeLane(key);
    this.#preparing += 1;
    const preparing = (async () => {
      try {
        const connection = await this.#dial(peer, address, this.#stopping.signal);
        if (this.#stopping.signal.aborted) connection.destroy();
        else this.#keep(connection, lane, key, () => {});
      } finally {
        this.#preparing -= 1;
        lane.preparing = undefined;
        this.#leaveLane(lane, key);
      }
    })();
    // Who asks meanwhile waits for it.
    lane.preparing = preparing;
    const settled = preparing.catch((error: unknown) =>
      this.#deps.logger.debug({ peer, error }, 'a connection for later could not be made'),
    );
    this.#running.add(settled);
    void settled.finally(() => this.#running.delete(settled));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new DOMException('the bulk client stopped', 'AbortError'));
    for (const lane of this.#lanes.values()) for (const { connection } of [...lane.idle]) connection.destroy();
    await Promise.all(this.#running);
    this.#pool.trim();
  }

  async #fetch(request: PieceRequest, signal: AbortSignal): Promise<void> {
    const key = laneKey(request.peer, request.address);
    const lane = this.#takeLane(key);
    try {
      const release = await lane.slots.acquire(signal);
      try {
        await this.#fetchOnLane(lane, key, request, signal);
      } finally {
        release();
      }
    } finally {
      this.#leaveLane(lane, key);
    }
  }

  #takeLane(key: string): Lane {
    const slots = () => new Semaphore(this.#options.maxConnectionsPerPeer);
    const lane = this.#lanes.get(key) ?? { slots: slots(), idle: [], users: 0, preparing: undefined };
    this.#lanes.set(key, lane);
    lane.users += 1;
    return lane;
  }

  #leaveLane(lane: Lane, key: string): void {
    lane.users -= 1;
    this.#dropLane(key, lane);
  }

  async #fetchOnLane(lane: Lane, key: string, request: PieceRequest, signal: AbortSignal): Promise<void> {
    if (lane.preparing !== undefined && lane.idle.length === 0) {
      await raceAbort(lane.preparing.catch(passFinal), signal);
    }
    const kept = this.#takeIdle(lane);
    if (kept !== undefined) {
      this.#metrics.connections.add(1, { kind: 'reused' });
      const transfer = this.#createTransfer(kept, request);
      try {
        await this.#run(transfer, kept, lane, key, signal);
        return;
      } catch (error) {
        // The server may close an idle connection in the moment we use it: not a byte came, so ask again on a new one.
        if (!isCode(error, 'PEER_CUT') || transfer.heardBytes > 0) throw error;
      }
    }
    const connection = await this.#dial(request.peer, request.address, signal);
    await this.#run(this.#createTransfer(connection, request), connection, lane, key, signal);
  }

  async #dial(peer: PeerId, address: BulkAddress, signal: AbortSignal): Promise<BulkConnection> {
    this.#context ??= createClientContext(this.#deps.identity, this.#deps.clock);
    const connectDeps = { clock: this.#deps.clock, context: await this.#context };
    const connection = await BulkConnection.open(connectDeps, peer, address, this.#options.dialTimeoutMs, signal);
    this.#metrics.connections.add(1, { kind: 'dialled' });
    return connection;
  }

  #createTransfer(connection: BulkConnection, request: PieceRequest): PieceTransfer {
    return new PieceTransfer(connection, request, { clock: this.#deps.clock, pool: this.#pool }, this.#options);
  }

  async #run(
    transfer: PieceTransfer,
    connection: BulkConnection,
    lane: Lane,
    key: string,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const { isReusable, refusal } = await transfer.run(signal);
      if (isReusable && !signal.aborted) this.#keep(connection, lane, key, (bytes) => transfer.tellStray(bytes));
      else connection.destroy();
      if (refusal !== undefined) throw refusal;
    } finally {
      this.#metrics.receivedBytes.add(transfer.receivedBytes);
      this.#metrics.bufferBytes.set(this.#pool.usedBytes);
    }
  }

  #takeIdle(lane: Lane): BulkConnection | undefined {
    for (let idle = lane.idle.pop(); idle !== undefined; idle = lane.idle.pop()) {
      this.#uncount(idle);
      if (!idle.connection.isClosed) return idle.connection;
    }
    return undefined;
  }

  #keep(connection: BulkConnection, lane: Lane, key: string, onStray: (bytes: Buffer) => void): void {
    if (connection.isClosed || this.#idleCount >= this.#options.maxIdleConnections) {
      connection.destroy();
      return;
    }
    // What is used again is the last, so that the first is the one that stays.
    const isKept = lane.idle.length === 0 && this.#keptCount < this.#options.maxKeptConnections;
    const end = () => connection.destroy();
    const idle = { connection, cancelTimer: isKept ? undefined : this.#deps.clock.schedule(this.#options.idleMs, end) };
    lane.idle.push(idle);
    this.#idleCount += 1;
    if (isKept) this.#keptCount += 1;
    const onClose = () => {
      const at = lane.idle.indexOf(idle);
      if (at < 0) return;
      lane.idle.splice(at, 1);
      this.#uncount(idle);
      this.#dropLane(key, lane);
    };
    connection.rest(onClose, onStray);
  }

  #uncount({ cancelTimer }: IdleConnection): void {
    this.#idleCount -= 1;
    if (cancelTimer === undefined) this.#keptCount -= 1;
    else cancelTimer();
  }

  #dropLane(key: string, lane: Lane): void {
    if (lane.users === 0 && lane.idle.length === 0 && this.#lanes.get(key) === lane) this.#lanes.delete(key);
  }
}

/**
 * Of why a connection could not be made beforehand, throws what another attempt would not change: another peer is there, or the whole
 * time for a handshake has gone by and would go by once more. Anything else may have hit that one connection alone.
 */
function passFinal(error: unknown): void {
  if (isCode(error, 'PEER_UNTRUSTED') || isCode(error, 'PEER_STALLED')) throw error;
}

/** @throws RangeError for a run the plan of the blob does not have */
function checkRequest({ blob, first, count }: PieceRequest): void {
  const { pieceCount } = planPieces(blob.sizeBytes);
  if (first < 0 || count < 1 || count > maxRunPieces || first + count > pieceCount) {
    throw new RangeError(`pieces ${first}+${count} are outside of ${pieceCount}, or more than ${maxRunPieces}`);
  }
}

const outcomes = new Map([
  ['PEER_ABSENT', 'absent'],
  ['PEER_BUSY', 'busy'],
  ['PEER_CUT', 'cut'],
  ['PEER_STALLED', 'stalled'],
  ['PEER_UNREACHABLE', 'unreachable'],
  ['PEER_UNTRUSTED', 'untrusted'],
  ['PEER_PROTOCOL', 'protocol'],
]);

function outcomeOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return 'aborted';
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return outcomes.get(code) ?? 'consumer';
}

function laneKey(peer: PeerId, { host, port }: BulkAddress): string {
  return `${peer} ${host} ${port}`;
}
