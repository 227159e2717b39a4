import { InvalidArgumentError } from '@commander-js/extra-typings';
import { findSizeBytes } from '../../config/values.ts';
import { type CommandIo, startCommand } from '../command.ts';
import { runDemo } from '../demo/run.ts';
import { exitCodes } from '../exit-codes.ts';

// 160 MiB: long enough to watch, short enough to wait for on a laptop.
const defaultSizeBytes = 160 * 2 ** 20;
// One process each; a laptop carries this many.
const maxNodes = 16;

/** `shoal demo` */
export function createCommand(io: CommandIo) {
  return startCommand(
    'demo',
    'Start an origin with a generated image and a fleet of daemons on this machine, pull the image on all of them at once, ' +
      'and show where every byte came from. Exit code 0 only if all digests were right.',
    {
      examples: ['shoal demo', 'shoal demo --size 1GiB --nodes 5', 'shoal demo --keep'],
      exits: [exitCodes.done, exitCodes.usage, exitCodes.failed, exitCodes.interrupted],
    },
  )
    .option('--nodes <count>', 'daemons to start', readNodes, 3)
    .option('--size <size>', 'bytes of the image per architecture', readSize, defaultSizeBytes)
    .option('--keep', 'leave the fleet running afterwards, until Ctrl-C')
    .action((options) =>
      runDemo(
        {
          nodes: options.nodes,
          sizeBytes: options.size,
          isKept: options.keep === true,
          isJson: options.json === true,
        },
        io,
      ),
    );
}

function readNodes(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > maxNodes) {
    throw new InvalidArgumentError(`expected a whole number from 1 to ${maxNodes}.`);
  }
  return count;
}

function readSize(text: string): number {
  const bytes = findSizeBytes(text);
  // Below this the smallest layers would be empty.
  if (bytes === undefined || bytes < 2 ** 20)
    throw new InvalidArgumentError('expected a size of 1MiB or more, such as 200MiB.');
  return bytes;
}
