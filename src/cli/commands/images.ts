import type { ImagesAnswer } from '../../admin/api.ts';
import { bytesText, percentText } from '../../lib/units.ts';
import { createAdminClient } from '../client/admin-client.ts';
import { findAdminEndpoint } from '../client/admin-endpoint.ts';
import { type CommandIo, startCommand } from '../command.ts';
import { exitCodes } from '../exit-codes.ts';
import { formatTable, leftColumns, rightColumns } from '../output/table.ts';
import { shortDigest } from '../output/units.ts';

/** `shoal images` */
export function createCommand(io: CommandIo) {
  return startCommand('images', 'List the images this node holds, and how much of each.', {
    examples: ['shoal images', 'shoal images --json'],
    exits: [exitCodes.done, exitCodes.usage, exitCodes.unreachable, exitCodes.failed],
  })
    .option('--admin <host:port>', 'admin address of the daemon (SHOAL_ADMIN)')
    .option('-c, --config <path>', 'configuration file the admin address and token are taken from (SHOAL_CONFIG)')
    .action(async (options) => {
      const client = createAdminClient(await findAdminEndpoint(options, io));
      const answer = await client.get<ImagesAnswer>('/api/v1/images', io.interrupted());
      if (options.json === true) {
        io.stdout.write(`${JSON.stringify(answer)}\n`);
        return;
      }
      if (answer.images.length === 0) {
        io.stdout.write('no images yet; pull one through the mirror or with `shoal pull`\n');
        return;
      }
      const rows = answer.images.map((image) => [
        `${image.repository.namespace}/${image.repository.name}`,
        image.tags.join(', ') || '-',
        shortDigest(image.digest),
        bytesText(image.sizeBytes),
        percentText(image.heldBytes, image.sizeBytes),
        image.provenance,
      ]);
      io.stdout.write(`${formatTable(columns, rows, io.stdout.isTTY === true)}\n`);
    });
}

const columns = [
  ...leftColumns('REPOSITORY', 'TAGS', 'DIGEST'),
  ...rightColumns('SIZE', 'HELD'),
  ...leftColumns('KIND'),
];
