import { parseConfigText } from './file.ts';
import { type ConfigKey, configKeys } from './keys.ts';

/** Where a value came from. */
export type ValueOrigin =
  | { readonly kind: 'default' }
  | { readonly kind: 'file'; readonly path: string; readonly line: number }
  | { readonly kind: 'environment'; readonly variable: string }
  | { readonly kind: 'flag'; readonly flag: string };

/** Raw values by path, before the schema has seen them. */
export type RawValues = ReadonlyMap<string, { readonly value: unknown; readonly origin: ValueOrigin }>;

// Kubernetes puts SHOAL_SERVICE_HOST, SHOAL_PORT_5000_TCP and the like into every pod beside a Service named shoal.
const kubernetesVariable =
  /_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP)(?:_(?:PROTO|PORT|ADDR))?)?)$/;
// Read by the command line, not by the schema.
const ownVariables = new Set(['SHOAL_CONFIG', 'SHOAL_ADMIN']);

/** Reads the values that the environment sets. */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): RawValues {
  const values = new Map<string, { value: unknown; origin: ValueOrigin }>();
  for (const key of configKeys) {
    const text = env[key.variable];
    // An empty variable is how compose files and unit files say "not set".
    if (text === undefined || text === '') continue;
    values.set(key.path, { value: readText(key, text), origin: { kind: 'environment', variable: key.variable } });
  }
  return values;
}

/** Names the SHOAL_ variables that nothing reads; a typing error there would otherwise pass unseen. */
export function findUnknownVariables(env: Readonly<Record<string, string | undefined>>): readonly string[] {
  const known = new Set(configKeys.map((key) => key.variable));
  return Object.keys(env).filter(
    (name) =>
      name.startsWith('SHOAL_') && !known.has(name) && !ownVariables.has(name) && !kubernetesVariable.test(name),
  );
}

/** Reads the values that the command line sets, by path. */
export function readFlags(flags: Readonly<Record<string, string | undefined>>): RawValues {
  const values = new Map<string, { value: unknown; origin: ValueOrigin }>();
  for (const key of configKeys) {
    const text = flags[key.path];
    if (text === undefined) continue;
    values.set(key.path, { value: readText(key, text), origin: { kind: 'flag', flag: key.flag } });
  }
  return values;
}

/** Turns one line of text into what a file would have held; what makes no sense stays text, and the schema says so. */
function readText(key: ConfigKey, text: string): unknown {
  switch (key.kind) {
    case 'boolean':
      return /^(?:true|yes|on|1)$/i.test(text) ? true : /^(?:false|no|off|0)$/i.test(text) ? false : text;
    case 'list':
      return text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '');
    case 'map': {
      const { data, problems } = parseConfigText(text);
      return problems.length === 0 ? data : text;
    }
    default:
      return text;
  }
}
