import { styleText } from 'node:util';
import type { StatusAnswer, TransfersAnswer } from '../../admin/api.ts';
import { delay, systemClock } from '../../lib/clock.ts';
import { findAdminAddress } from '../client/admin-address.ts';
import { type AdminClient, createAdminClient } from '../client/admin-client.ts';
import { type CommandIo, startCommand } from '../command.ts';
import { exitCodes } from '../exit-codes.ts';
import { formatStatus } from '../output/status.ts';

// Twice a second is as fast as a person reads; each redraw is two small requests.
const redrawMs = 500;

/** `shoal status` */
export function createCommand(io: CommandIo) {
  return startCommand('status', 'Show health, store, peers, origins and running transfers of the daemon.', {
    examples: ['shoal status', 'shoal status --watch', 'shoal status --json | jq .status.conditions'],
    exits: [exitCodes.done, exitCodes.usage, exitCodes.unreachable, exitCodes.failed],
  })
    .option('-w, --watch', 'redraw until interrupted; with --json one object a line')
    .option('--admin <host:port>', 'admin address of the daemon (SHOAL_ADMIN)')
    .option('-c, --config <path>', 'configuration file the admin address is taken from (SHOAL_CONFIG)')
    .action(async (options) => {
      const client = createAdminClient(await findAdminAddress(options, io));
      const signal = io.interrupted();
      const show = async () => {
        const facts = await readFacts(client, signal);
        if (options.json === true) io.stdout.write(`${JSON.stringify(facts)}\n`);
        else {
          // Home, draw, clear what is left below: no flicker, unlike clearing first.
          const isRedrawn = options.watch === true && io.stdout.isTTY === true;
          const text = formatStatus(facts, Date.now(), io.stdout.isTTY === true);
          io.stdout.write(isRedrawn ? `\x1b[H${text.replaceAll('\n', '\x1b[K\n')}\x1b[K\n\x1b[J` : `${text}\n`);
        }
      };
      if (options.watch !== true) return show();
      if (io.stdout.isTTY === true && options.json !== true) io.stdout.write('\x1b[2J');
      while (!signal.aborted) {
        await show().catch((error: unknown) => {
          if (signal.aborted) return;
          if (options.json === true || io.stdout.isTTY !== true) throw error;
          // A daemon that restarts is part of what one watches for.
          const text = error instanceof Error ? error.message : String(error);
          io.stdout.write(`\x1b[H${styleText('red', text)}\x1b[K\n\x1b[J`);
        });
        await delay(systemClock, redrawMs, signal).catch(() => {});
      }
    });
}

async function readFacts(client: AdminClient, signal: AbortSignal) {
  const [status, { transfers }] = await Promise.all([
    client.get<StatusAnswer>('/api/v1/status', signal),
    client.get<TransfersAnswer>('/api/v1/transfers', signal),
  ]);
  return { status, transfers };
}
