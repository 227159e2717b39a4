import { z } from 'zod';
import { type FieldInfo, findFieldInfo } from './fields.ts';
import { configSchema } from './schema.ts';

/** One key of the configuration, as the file, the environment and the command line name it. */
export interface ConfigKey extends FieldInfo {
  /** `registry.listen` */
  readonly path: string;
  readonly segments: readonly string[];
  /** `SHOAL_REGISTRY_LISTEN` */
  readonly variable: string;
  /** `--registry.listen` */
  readonly flag: string;
  /** As a person would write it; undefined = absent. */
  readonly byDefault: unknown;
  /** Values accepted, where they are few. */
  readonly choices?: readonly string[];
}

/** Every key, in the order of the schema. */
export const configKeys: readonly ConfigKey[] = [...walk(configSchema, [])];

const byPath = new Map(configKeys.map((key) => [key.path, key]));

export function findConfigKey(path: string): ConfigKey | undefined {
  return byPath.get(path);
}

/** Returns the name of the environment variable of a path. */
function variableOf(segments: readonly string[]): string {
  return `SHOAL_${segments.map((segment) => segment.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()).join('_')}`;
}

function* walk(schema: z.core.$ZodType, segments: readonly string[]): Generator<ConfigKey> {
  const info = findFieldInfo(schema);
  if (info !== undefined) {
    const choices = choicesOf(schema);
    yield {
      ...info,
      path: segments.join('.'),
      segments,
      variable: variableOf(segments),
      flag: `--${segments.join('.')}`,
      byDefault: schema instanceof z.ZodPrefault ? schema.def.defaultValue : undefined,
      ...(choices === undefined ? {} : { choices }),
    };
    return;
  }
  const section = schema instanceof z.ZodPrefault ? schema.def.innerType : schema;
  if (!(section instanceof z.ZodObject)) throw new TypeError(`config key without description: ${segments.join('.')}`);
  for (const [name, child] of Object.entries(section.shape)) yield* walk(child as z.core.$ZodType, [...segments, name]);
}

function choicesOf(schema: z.core.$ZodType): readonly string[] | undefined {
  const inner = schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional ? schema.def.innerType : schema;
  return inner instanceof z.ZodEnum ? inner.options.map(String) : undefined;
}
