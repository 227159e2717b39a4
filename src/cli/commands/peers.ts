import type { PeersAnswer } from '../../admin/api.ts';
import { bytesText, rateText, spanText } from '../../lib/units.ts';
import { createAdminClient } from '../client/admin-client.ts';
import { findAdminEndpoint } from '../client/admin-endpoint.ts';
import { type CommandIo, startCommand } from '../command.ts';
import { exitCodes } from '../exit-codes.ts';
import { formatTable, leftColumns, rightColumns } from '../output/table.ts';

/** `shoal peers` */
export function createCommand(io: CommandIo) {
  return startCommand(
    'peers',
    'Show the nodes of the fleet this node knows: bytes both ways, rates, bans with their evidence.',
    {
      examples: ['shoal peers', 'shoal peers --json'],
      exits: [exitCodes.done, exitCodes.usage, exitCodes.unreachable, exitCodes.failed],
    },
  )
    .option('--admin <host:port>', 'admin address of the daemon (SHOAL_ADMIN)')
    .option('-c, --config <path>', 'configuration file the admin address and token are taken from (SHOAL_CONFIG)')
    .action(async (options) => {
      const client = createAdminClient(await findAdminEndpoint(options, io));
      const answer = await client.get<PeersAnswer>('/api/v1/peers', io.interrupted());
      if (options.json === true) {
        io.stdout.write(`${JSON.stringify(answer)}\n`);
        return;
      }
      if (answer.peers.length === 0) {
        io.stdout.write('no peers; set fleet.bootstrap or fleet.mdns, and the same fleet secret on every node\n');
        return;
      }
      const rows = answer.peers.map((peer) => [
        peer.peer,
        peer.ban === undefined ? (peer.isConnected ? 'connected' : 'away') : 'banned',
        peer.zone ?? '-',
        bytesText(peer.receivedBytes ?? 0),
        bytesText(peer.sentBytes ?? 0),
        rateText(peer.rateBytesPerSecond ?? 0),
        String(peer.rejectedPieces ?? 0),
        peer.addresses?.[0] ?? '-',
      ]);
      io.stdout.write(`${formatTable(columns, rows, io.stdout.isTTY === true)}\n`);
      for (const { peer, ban } of answer.peers) {
        if (ban === undefined) continue;
        const since = `${new Date(ban.sinceMs).toISOString()}, ${spanText(Date.now() - ban.sinceMs)} ago`;
        io.stdout.write(`\n${peer} is banned: ${ban.reason}\n  since    ${since}\n  evidence ${ban.evidence}\n`);
      }
    });
}

const columns = [
  ...leftColumns('PEER', 'STATE', 'ZONE'),
  ...rightColumns('RECEIVED', 'SENT', 'RATE', 'REJECTED'),
  ...leftColumns('ADDRESS'),
];
