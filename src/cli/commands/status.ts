import { styleText } from 'node:util';
import { InvalidArgumentError } from '@commander-js/extra-typings';
import type { StatusAnswer, TransfersAnswer } from '../../admin/api.ts';
import { findDurationMs } from '../../config/values.ts';
import { delay, systemClock } from '../../lib/clock.ts';
import { toError } from '../../lib/errors.ts';
import type { Transfer } from '../../swarm/swarm.ts';
import { type AdminClient, createAdminClient } from '../client/admin-client.ts';
import { findAdminEndpoint } from '../client/admin-endpoint.ts';
import { type CommandIo, startCommand } from '../command.ts';
import { exitCodes } from '../exit-codes.ts';
import { fitScreen, formatStatus, type StatusFacts } from '../output/status.ts';
import { splitTransfers, transferLine } from '../output/transfers.ts';

// Twice a second is as fast as a person reads; each redraw is two small requests. Lines that are kept come less often.
const redrawMs = 500;
const lineMs = 1000;
const shortestIntervalMs = 100;

/** `shoal status` */
export function createCommand(io: CommandIo) {
  return startCommand('status', 'Show health, store, peers, origins and running transfers of the daemon.', {
    examples: [
      'shoal status',
      'shoal status --watch',
      'shoal status --watch --json --interval 5s',
      'shoal status --json | jq .status.conditions',
    ],
    exits: [exitCodes.done, exitCodes.usage, exitCodes.unreachable, exitCodes.failed],
  })
    .option(
      '-w, --watch',
      'until interrupted: redrawn on a terminal, else a line for each running transfer; with --json one object a line',
    )
    .option(
      '--interval <time>',
      'time between two looks of --watch (default: 500ms on a terminal, else 1s)',
      readInterval,
    )
    .option('--admin <host:port>', 'admin address of the daemon (SHOAL_ADMIN)')
    .option('-c, --config <path>', 'configuration file the admin address and token are taken from (SHOAL_CONFIG)')
    .action(async (options) => {
      const client = createAdminClient(await findAdminEndpoint(options, io));
      const signal = io.interrupted();
      const isTty = io.stdout.isTTY === true;
      if (options.watch !== true) {
        const facts = await readFacts(client, signal);
        io.stdout.write(`${options.json === true ? JSON.stringify(facts) : formatStatus(facts, Date.now(), isTty)}\n`);
        return;
      }
      const watch = options.json === true ? watchAsJson(io) : isTty ? watchOnScreen(io) : watchAsLines(io);
      const intervalMs = options.interval ?? (isTty && options.json !== true ? redrawMs : lineMs);
      while (!signal.aborted) {
        try {
          watch.show(await readFacts(client, signal));
        } catch (error) {
          if (signal.aborted) break;
          if (watch.fail === undefined) throw error;
          watch.fail(toError(error));
        }
        await delay(systemClock, intervalMs, signal).catch(() => {});
      }
    });
}

interface Watch {
  show(facts: StatusFacts): void;
  /** A daemon that restarts is part of what one watches for; absent = a failure ends the watch. */
  fail?(error: Error): void;
}

function watchOnScreen(io: CommandIo): Watch {
  io.stdout.write('\x1b[2J');
  // Home, draw, clear what is left below: no flicker, unlike clearing first.
  const draw = (text: string) => {
    const screen = { columns: io.stdout.columns ?? 120, rows: io.stdout.rows ?? 40 };
    io.stdout.write(`\x1b[H${fitScreen(text, screen).replaceAll('\n', '\x1b[K\n')}\x1b[K\x1b[J`);
  };
  return {
    show: (facts) => draw(formatStatus(facts, Date.now(), true)),
    fail: (error) => draw(styleText('red', error.message, { validateStream: false })),
  };
}

function watchAsLines(io: CommandIo): Watch {
  const news = new EndedNews();
  return {
    show({ transfers }) {
      const nowMs = Date.now();
      const time = new Date(nowMs).toISOString().slice(11, 19);
      const picked = news.pick(transfers);
      const moving = picked.filter(({ waitsFor }) => waitsFor?.for !== 'queue');
      for (const transfer of moving) io.stdout.write(`${time}  ${transferLine(transfer, nowMs)}\n`);
      const queued = picked.length - moving.length;
      if (queued > 0) io.stdout.write(`${time}  ${queued} more wait for other blobs\n`);
    },
  };
}

function watchAsJson(io: CommandIo): Watch {
  const news = new EndedNews();
  return {
    show({ status, transfers }) {
      io.stdout.write(`${JSON.stringify({ atMs: Date.now(), status, transfers: news.pick(transfers) })}\n`);
    },
  };
}

/** Picks what runs and what has ended since the last look; what had ended before the first is no news. */
class EndedNews {
  #seen: ReadonlySet<string> | undefined;

  pick(transfers: readonly Transfer[]): Transfer[] {
    const { running, ended } = splitTransfers(transfers);
    const keyOf = (transfer: Transfer) => `${transfer.digest} ${transfer.endedAtMs}`;
    const before = this.#seen;
    this.#seen = new Set(ended.map(keyOf));
    return [...running, ...(before === undefined ? [] : ended.filter((transfer) => !before.has(keyOf(transfer))))];
  }
}

function readInterval(text: string): number {
  const ms = findDurationMs(text);
  if (ms === undefined || ms < shortestIntervalMs)
    throw new InvalidArgumentError(`expected a time of ${shortestIntervalMs}ms or more, such as 500ms or 5s.`);
  return ms;
}

async function readFacts(client: AdminClient, signal: AbortSignal): Promise<StatusFacts> {
  const [status, { transfers }] = await Promise.all([
    client.get<StatusAnswer>('/api/v1/status', signal),
    client.get<TransfersAnswer>('/api/v1/transfers', signal),
  ]);
  return { status, transfers };
}
