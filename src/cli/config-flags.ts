import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import { configKeys } from '../config/keys.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import type { CommandIo } from './command.ts';

/** Adds `--config` and one flag per key of the configuration. */
export function addConfigFlags(command: CommandUnknownOpts): void {
  command.option('-c, --config <path>', 'configuration file (SHOAL_CONFIG)');
  for (const key of configKeys) {
    const shape = key.choices?.join('|') ?? placeholders[key.kind];
    command.addOption(
      new Option(`${key.flag} <${shape}>`, `${key.text} (${defaultText(key.byDefault, key.defaultText)})`).helpGroup(
        'Configuration:',
      ),
    );
  }
}

/** Loads the configuration that the parsed options of a command ask for. */
export function loadConfigFor(options: Record<string, unknown>, io: CommandIo): LoadedConfig {
  const texts = new Map<string, string>();
  for (const key of configKeys) {
    const value = options[key.path];
    if (typeof value === 'string') texts.set(key.path, value);
  }
  const path = options['config'];
  return loadConfig({
    env: io.env,
    flags: Object.fromEntries(texts),
    ...(typeof path === 'string' ? { path } : {}),
  });
}

const placeholders = {
  text: 'text',
  number: 'number',
  boolean: 'true|false',
  size: 'size',
  duration: 'time',
  address: 'host:port',
  list: 'a,b',
  map: 'yaml',
} as const;

function defaultText(value: unknown, words: string | undefined): string {
  if (words !== undefined) return `default: ${words}`;
  if (value === undefined) return 'not set';
  if (Array.isArray(value))
    return value.length === 0
      ? 'default: none'
      : `default: ${value.slice(0, 3).join(',')}${value.length > 3 ? ',…' : ''}`;
  return typeof value === 'object' ? 'default: none' : `default: ${String(value)}`;
}
