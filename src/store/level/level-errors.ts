import { Level } from 'level';
import { StoreError } from '../errors.ts';

/** Rewrites what can still be read of a closed database. @throws STORE_CORRUPT */
export async function repairLevel(path: string): Promise<void> {
  // `level` types only what browsers share; under Node its class is classic-level's own, which can repair.
  const repair: unknown = Reflect.get(Level, 'repair');
  if (typeof repair !== 'function') throw new StoreError('STORE_CORRUPT', 'the index cannot be repaired here');
  try {
    await repair.call(Level, path);
  } catch (error) {
    throw translateLevelError(error, path);
  }
}

// LevelDB hands the system's words on, not its numbers.
const words: readonly [RegExp, 'STORE_FULL' | 'STORE_UNWRITABLE' | 'STORE_CORRUPT', string][] = [
  [/no space left|disk quota/i, 'STORE_FULL', 'the disk is full'],
  [
    /permission denied|read-only file system|operation not permitted/i,
    'STORE_UNWRITABLE',
    'the data directory cannot be written',
  ],
  [/corruption|create_if_missing is false|no such file|input\/output error/i, 'STORE_CORRUPT', 'the index is damaged'],
];

/** Turns LevelDB's errors into codes; what is not known stays as it is. */
export function translateLevelError(error: unknown, path: string): unknown {
  const chain = [...causes(error)];
  const codes = chain.map((cause) => ('code' in cause ? cause.code : undefined));
  const options = { cause: error, details: { path } };
  if (codes.includes('LEVEL_LOCKED')) {
    return new StoreError('STORE_LOCKED', 'another process uses the data directory', options);
  }
  if (codes.includes('LEVEL_CORRUPTION')) return new StoreError('STORE_CORRUPT', 'the index is damaged', options);
  const text = chain.map((cause) => cause.message).join(' ');
  const known = words.find(([pattern]) => pattern.test(text));
  return known === undefined ? error : new StoreError(known[1], known[2], options);
}

function* causes(error: unknown): Iterable<Error> {
  for (let cause = error; cause instanceof Error; cause = cause.cause) yield cause;
}
