import { type CommandIo, startCommand } from '../command.ts';
import { exitCodes } from '../exit-codes.ts';
import { readVersion } from '../version.ts';

/** `shoal version` */
export function createCommand(io: CommandIo) {
  return startCommand('version', 'Print the version of Shoal and of what it runs on.', {
    examples: ['shoal version', 'shoal version --json'],
    exits: [exitCodes.done],
  }).action((options) => {
    const about = {
      version: readVersion(),
      node: process.versions.node,
      platform: `${process.platform}-${process.arch}`,
    };
    io.stdout.write(
      options.json === true
        ? `${JSON.stringify(about)}\n`
        : `shoal ${about.version} (Node ${about.node}, ${about.platform})\n`,
    );
  });
}
