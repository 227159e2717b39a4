import { duplexPair } from 'node:stream';
import { vi } from 'vitest';
import type { PeerId } from '../../src/content/peer-id.ts';
import { BufferPool } from '../../src/lib/buffer-pool.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import type { PieceSource } from '../../src/peer/bulk.ts';
import { createBulkServerMetrics } from '../../src/peer/tls/bulk-metrics.ts';
import { BulkServerConnection } from '../../src/peer/tls/bulk-server-connection.ts';
import { BulkService } from '../../src/peer/tls/bulk-service.ts';
import type { Metrics } from '../../src/telemetry/metrics.ts';
import { bulkServerOptions } from './bulk-options.ts';
import { FakeClock } from './fake-clock.ts';
import { patience } from './patience.ts';

export interface BulkDialogueOptions {
  readonly peer: PeerId;
  readonly source: PieceSource;
  readonly isMember?: boolean;
  readonly changes?: Partial<typeof bulkServerOptions>;
  /** What lies between the ends while nobody reads. */
  readonly highWaterMark?: number;
}

/** Both ends of one connection to the server half of the bulk plane, in memory and on a clock that moves when told. */
export function startBulkDialogue(dialogue: BulkDialogueOptions) {
  const { peer, source, isMember = true, changes = {}, highWaterMark = 16 * 1024 } = dialogue;
  const options = { ...bulkServerOptions, ...changes };
  const clock = new FakeClock();
  const outcomes: string[] = [];
  const metrics: Metrics = {
    counter: () => ({
      add: (_amount: number, labels?: Record<string, string>) => {
        if (labels?.['outcome'] !== undefined) outcomes.push(labels['outcome']);
      },
    }),
    gauge: () => ({ set: () => {} }),
    histogram: () => ({ observe: () => {} }),
  };
  const pool = new BufferPool(clock, { maxBytes: 3 * options.chunkBytes, idleMs: options.bufferIdleMs });
  const deps = {
    source,
    isMember: () => isMember,
    logger: silentLogger,
    metrics: createBulkServerMetrics(metrics),
    pool,
  };
  const service = new BulkService(deps, options);
  const [mine, theirs] = duplexPair({ highWaterMark });
  const connection = new BulkServerConnection(theirs, peer, clock, options, service);
  // Copies: the pair hands on the very buffers, which the server lends again.
  const received: Buffer[] = [];
  const listen = () => mine.on('data', (bytes: Buffer) => received.push(Buffer.from(bytes)));
  const text = () => Buffer.concat(received).toString('latin1');
  return {
    /** The peer's end. */
    mine,
    theirs,
    clock,
    pool,
    outcomes,
    connection,
    text,
    listen,
    statuses: () => [...text().matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status)),
    say: (bytes: string) => mine.write(bytes, 'latin1'),
    /** Moves time as the server does, which looks at all its connections after each step. */
    async pass(spanMs: number, mayStay = false): Promise<void> {
      await clock.advanceAsync(spanMs);
      connection.check(clock.nowMs(), () => mayStay);
      await clock.advanceAsync(0);
    },
    until: (condition: () => void) => vi.waitFor(condition, patience),
  };
}
