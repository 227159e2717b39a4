import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { ConfigError } from './errors.ts';
import { type ParsedFile, parseConfigText } from './file.ts';
import { configKeys } from './keys.ts';
import { findUnknownVariables, type RawValues, readEnvironment, readFlags, type ValueOrigin } from './layers.ts';
import { type ConfigProblem, describeIssues, owningKey } from './problems.ts';
import { type Config, configSchema } from './schema.ts';

export interface LoadOptions {
  /** File named on the command line; it must exist. */
  readonly path?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Texts of flags by path of the key. */
  readonly flags?: Readonly<Record<string, string | undefined>>;
}

export interface LoadedConfig {
  readonly config: Config & { readonly dataDir: string };
  /** The file that was read; undefined when there is none. */
  readonly path: string | undefined;
  /** Where the value of a key came from. */
  originOf(path: string): ValueOrigin;
  /** Worth telling, but no reason to stop. */
  readonly warnings: readonly string[];
}

/** Puts defaults, file, environment and flags together, later ones winning. @throws CONFIG_UNREADABLE, CONFIG_INVALID */
export function loadConfig(options: LoadOptions): LoadedConfig {
  const path = findConfigPath(options);
  const file = path === undefined ? undefined : readConfigFile(path);
  const overrides: RawValues = new Map([...readEnvironment(options.env), ...readFlags(options.flags ?? {})]);

  const merged = mergeOver(file?.parsed.data ?? {}, overrides);
  const originOf = (at: readonly PropertyKey[]): ValueOrigin => {
    const key = owningKey(at);
    const override = key === undefined ? undefined : overrides.get(key);
    if (override !== undefined) return override.origin;
    if (file === undefined || !holds(file.parsed.data, at)) return { kind: 'default' };
    return { kind: 'file', path: file.path, line: file.parsed.positionOf(at).line };
  };
  const result = configSchema.safeParse(merged);
  if (!result.success) throw invalid(describeIssues(result.error.issues, originOf, file));

  const dataDir = resolve(result.data.dataDir ?? findDefaultDataDir(options.env));
  return {
    config: { ...result.data, dataDir },
    path,
    originOf: (at) => originOf(at.split('.')),
    warnings: findUnknownVariables(options.env).map(
      (name) => `environment variable ${name} is not a key of the configuration`,
    ),
  };
}

/** Finds the configuration file: the one named, else SHOAL_CONFIG, else the first that exists of the usual places. */
export function findConfigPath(options: Pick<LoadOptions, 'path' | 'env'>): string | undefined {
  const named = options.path ?? (options.env['SHOAL_CONFIG'] || undefined);
  return named === undefined ? usualConfigPaths(options.env).find((path) => existsSync(path)) : resolve(named);
}

export function usualConfigPaths(env: LoadOptions['env']): readonly string[] {
  const home = env['HOME'] || homedir();
  return ['/etc/shoal/shoal.yaml', join(env['XDG_CONFIG_HOME'] || join(home, '.config'), 'shoal', 'shoal.yaml')];
}

function readConfigFile(path: string): { path: string; parsed: ParsedFile } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError('CONFIG_UNREADABLE', `cannot read the configuration file ${path}`, {
      cause: error,
      details: { path },
    });
  }
  const parsed = parseConfigText(text);
  if (parsed.problems.length > 0) {
    throw invalid(
      parsed.problems.map(({ position, text: problem }) => ({
        place: `${path}:${position.line}:${position.column}`,
        path: '',
        text: problem,
      })),
    );
  }
  return { path, parsed };
}

function invalid(problems: readonly ConfigProblem[]): ConfigError {
  const lines = problems.map((problem) => `${problem.place}: ${problem.text}`);
  return new ConfigError('CONFIG_INVALID', lines.join('\n'), { details: { problems } });
}

/** Lays the overrides over the data of the file without changing it. */
function mergeOver(data: unknown, overrides: RawValues): unknown {
  if (!isRecord(data)) return data ?? {};
  const merged: Record<string, unknown> = { ...data };
  // An empty section in YAML is null; it means "nothing set here".
  for (const key of configKeys) {
    const section = key.segments.length > 1 ? key.segments[0] : undefined;
    if (section !== undefined && merged[section] === null) delete merged[section];
  }
  for (const key of configKeys) {
    const override = overrides.get(key.path);
    if (override === undefined) continue;
    let target = merged;
    for (const segment of key.segments.slice(0, -1)) {
      const below = target[segment];
      const copy: Record<string, unknown> = isRecord(below) ? { ...below } : {};
      target[segment] = copy;
      target = copy;
    }
    target[key.segments.at(-1) ?? ''] = override.value;
  }
  return merged;
}

function holds(data: unknown, path: readonly PropertyKey[]): boolean {
  let at = data;
  for (const segment of path) {
    if (at === null || typeof at !== 'object' || !(segment in at)) return false;
    at = (at as Record<PropertyKey, unknown>)[segment];
  }
  return true;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** The system's place when this user may write there, else the user's own. */
function findDefaultDataDir(env: LoadOptions['env']): string {
  const system = '/var/lib/shoal';
  const probe = existsSync(system) ? system : dirname(system);
  try {
    accessSync(probe, constants.W_OK);
    return system;
  } catch {
    return join(env['XDG_DATA_HOME'] || join(env['HOME'] || homedir(), '.local', 'share'), 'shoal');
  }
}
