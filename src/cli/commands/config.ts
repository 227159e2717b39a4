import { Command } from '@commander-js/extra-typings';
import { exampleConfig } from '../../config/example.ts';
import type { ValueOrigin } from '../../config/layers.ts';
import { findConfigPath, usualConfigPaths } from '../../config/load.ts';
import { showConfig } from '../../config/show.ts';
import { type CommandIo, startCommand } from '../command.ts';
import { addConfigFlags, loadConfigFor } from '../config-flags.ts';
import { exitCodes } from '../exit-codes.ts';
import { formatTable, leftColumns } from '../output/table.ts';

const exits = [exitCodes.done, exitCodes.usage, exitCodes.config];

/** `shoal config show | check | path | example` */
export function createCommand(io: CommandIo) {
  const command = new Command('config')
    .description('Show, check or explain the configuration.')
    .addHelpText('after', '\nValues are taken from: defaults < file < environment (SHOAL_<KEY>) < flags (--<key>).');
  command.addCommand(createShow(io));
  command.addCommand(createCheck(io));
  command.addCommand(createPath(io));
  command.addCommand(createExample(io));
  return command;
}

function createShow(io: CommandIo) {
  const command = startCommand('show', 'Print every key with its value and where the value comes from.', {
    examples: ['shoal config show', 'shoal config show --config ./shoal.yaml --json'],
    exits,
  });
  addConfigFlags(command);
  return command.action((options) => {
    const loaded = loadConfigFor(options, io);
    const keys = showConfig(loaded);
    if (options.json === true) {
      io.stdout.write(
        `${JSON.stringify({ path: loaded.path ?? null, keys, warnings: loaded.warnings }, undefined, 2)}\n`,
      );
      return;
    }
    const rows = keys.map((key) => [key.path, cut(valueText(key.value)), originText(key.origin)]);
    io.stdout.write(`${formatTable(leftColumns('KEY', 'VALUE', 'FROM'), rows, io.stdout.isTTY === true)}\n`);
    for (const warning of loaded.warnings) io.stderr.write(`warning: ${warning}\n`);
  });
}

function createCheck(io: CommandIo) {
  const command = startCommand('check', 'Say whether the configuration is right; exit code 3 when it is not.', {
    examples: ['shoal config check', 'shoal config check --config ./shoal.yaml'],
    exits,
  });
  addConfigFlags(command);
  return command.action((options) => {
    const loaded = loadConfigFor(options, io);
    const from = loaded.path ?? 'no file: defaults, environment and flags';
    if (options.json === true) {
      io.stdout.write(`${JSON.stringify({ ok: true, path: loaded.path ?? null, warnings: loaded.warnings })}\n`);
      return;
    }
    for (const warning of loaded.warnings) io.stderr.write(`warning: ${warning}\n`);
    io.stdout.write(`configuration is right (${from})\n`);
  });
}

function createPath(io: CommandIo) {
  return startCommand('path', 'Print which configuration file is read.', { examples: ['shoal config path'], exits })
    .option('-c, --config <path>', 'configuration file (SHOAL_CONFIG)')
    .action((options) => {
      const path = findConfigPath({ path: options.config, env: io.env });
      const usual = usualConfigPaths(io.env);
      if (options.json === true) io.stdout.write(`${JSON.stringify({ path: path ?? null, searched: usual })}\n`);
      else io.stdout.write(path === undefined ? `none; looked for ${usual.join(' and ')}\n` : `${path}\n`);
    });
}

function createExample(io: CommandIo) {
  return startCommand('example', 'Print a complete configuration file with every key explained.', {
    examples: ['shoal config example > shoal.yaml'],
    exits: [exitCodes.done],
  }).action((options) => {
    const text = exampleConfig();
    io.stdout.write(options.json === true ? `${JSON.stringify({ yaml: text })}\n` : text);
  });
}

function valueText(value: unknown): string {
  if (value === null) return '-';
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.join(', ');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

// Long lists would push the last column off the screen; --json has them whole.
const maxValueLength = 72;

function cut(text: string): string {
  return text.length <= maxValueLength ? text : `${text.slice(0, maxValueLength - 1)}…`;
}

function originText(origin: ValueOrigin): string {
  switch (origin.kind) {
    case 'file':
      return `${origin.path}:${origin.line}`;
    case 'environment':
      return origin.variable;
    case 'flag':
      return origin.flag;
    default:
      return origin.kind;
  }
}
