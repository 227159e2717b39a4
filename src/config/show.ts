import { configKeys } from './keys.ts';
import type { ValueOrigin } from './layers.ts';
import type { LoadedConfig } from './load.ts';
import { durationText, listenAddressText, sizeText } from './values.ts';

/** A key with its value as a person would write it, secrets masked. */
export interface ShownKey {
  readonly path: string;
  readonly value: unknown;
  readonly origin: ValueOrigin;
}

const mask = '(set)';

/** Lists every key with its value and where that came from. */
export function showConfig(loaded: LoadedConfig): readonly ShownKey[] {
  return configKeys.map((key) => {
    let value: unknown = loaded.config;
    for (const segment of key.segments) value = (value as Record<string, unknown> | undefined)?.[segment];
    return { path: key.path, value: shown(key.kind, key.isSecret === true, value), origin: loaded.originOf(key.path) };
  });
}

function shown(kind: string, isSecret: boolean, value: unknown): unknown {
  if (value === undefined) return null;
  if (isSecret) return mask;
  if (kind === 'size') return sizeText(value as number);
  if (kind === 'duration') return durationText(value as number);
  if (kind === 'address') return listenAddressText(value as { host: string; port: number });
  if (kind === 'map') {
    return Object.fromEntries(
      Object.entries(value as Record<string, Record<string, unknown>>).map(([name, entry]) => [
        name,
        {
          ...entry,
          ...('password' in entry ? { password: mask } : {}),
          ...('token' in entry ? { token: mask } : {}),
        },
      ]),
    );
  }
  return value;
}
