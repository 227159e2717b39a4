import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import type { z } from 'zod';
import { AdminError, type AdminErrorCode, toAnswer } from '../src/admin/errors.ts';
import type { CommandIo } from '../src/cli/command.ts';
import { exitCodeTexts } from '../src/cli/exit-codes.ts';
import { listCommands } from '../src/cli/run.ts';
import { type ConfigKey, configKeys } from '../src/config/keys.ts';
import { configSchema } from '../src/config/schema.ts';
import { codesOf } from './code-pages.ts';
import { code, pageHead, table } from './markdown.ts';

export { errorsPage, metricsPage } from './code-pages.ts';

export function configPage(): string {
  const head = pageHead(
    'Configuration',
    '`src/config/schema.ts`',
    `Shoal runs without any configuration. A value comes from, later ones winning: the default, the file, the environment, a flag.

The file is YAML: the one named by \`--config\` or \`SHOAL_CONFIG\`, else \`/etc/shoal/shoal.yaml\`, else
\`$XDG_CONFIG_HOME/shoal/shoal.yaml\` (\`~/.config/shoal/shoal.yaml\`). Unknown keys are errors and name their line. \`registry.listen\` is
\`registry:\` with \`listen:\` below it in the file, \`SHOAL_REGISTRY_LISTEN\` in the environment, \`--registry.listen\` as a flag.
Sizes: \`512MiB\`, \`10GiB\`, \`500MB\` or bytes. Times: \`500ms\`, \`30s\`, \`5m\`, \`12h\`, \`7d\`. Lists in the environment and in flags: commas.
Maps there: YAML on one line.

\`shoal config show\` prints each value and where it comes from, \`shoal config check\` says whether all is right, and
\`shoal config example\` prints a complete file (\`config/shoal.yaml\` is that file).`,
  );
  const sections = new Map<string, ConfigKey[]>();
  for (const key of configKeys) {
    const name = key.segments.length > 1 ? (key.segments[0] ?? '') : '';
    sections.set(name, [...(sections.get(name) ?? []), key]);
  }
  const parts = [...sections].map(([name, keys]) => {
    const rows = keys.map((key) => [
      code(key.path),
      defaultOf(key),
      `${key.text}${choicesOf(key)}`,
      code(key.variable),
    ]);
    const title = name === '' ? 'Top level' : `\`${name}\``;
    return `## ${title}\n\n${table(['Key', 'Default', 'Meaning', 'Environment'], rows)}\n`;
  });
  return `${head}\n${parts.join('\n')}\n${originsPart()}`;
}

function defaultOf(key: ConfigKey): string {
  if (key.defaultText !== undefined) return key.defaultText;
  if (key.byDefault === undefined) return 'not set';
  if (Array.isArray(key.byDefault)) return key.byDefault.length === 0 ? 'none' : key.byDefault.map(code).join(', ');
  return typeof key.byDefault === 'object' ? 'none' : code(String(key.byDefault));
}

function choicesOf(key: ConfigKey): string {
  return key.choices === undefined ? '' : ` One of ${key.choices.map(code).join(', ')}.`;
}

/** The keys of one origin stand below a name that only the operator knows, so that they are no keys of their own. */
function originsPart(): string {
  const field = configSchema.shape.origins;
  const record = field.def.innerType as unknown as z.ZodRecord;
  const shape = (record.def.valueType as z.ZodObject).shape;
  const rows = Object.entries(shape).map(([name, schema]) => [code(name), (schema as z.ZodType).description ?? '']);
  return `## One origin, below \`origins.<namespace>\`

A namespace is the origin's host name, with its port where it has one: \`docker.io\`, \`registry.lan:5000\`.

${table(['Key', 'Meaning'], rows)}
`;
}

export async function cliPage(): Promise<string> {
  const io: CommandIo = {
    stdout: { write: () => true },
    stderr: { write: () => true },
    env: {},
    interrupted: () => new AbortController().signal,
  };
  const program = new Command('shoal');
  const parts: string[] = [];
  const entries = listCommands();
  for (const entry of entries) {
    const command = (await entry.load()).createCommand(io);
    program.addCommand(command);
    for (const each of [command, ...command.commands]) parts.push(commandPart(each));
  }
  const list = table(
    ['Command', 'What it does'],
    entries.map(({ name, summary }) => [code(`shoal ${name}`), summary]),
  );
  const exits = table(
    ['Code', 'Meaning'],
    Object.entries(exitCodeTexts).map(([number, text]) => [number, text]),
  );
  const head = pageHead(
    'Command line',
    '`src/cli`',
    'Every command has `--help`, `--json` for programs and `--debug` for the causes of an error.',
  );
  return `${head}\n${list}\n\n## Exit codes\n\n${exits}\n\n${parts.join('\n')}`;
}

function commandPart(command: CommandUnknownOpts): string {
  let text = '';
  command.configureOutput({
    writeOut: (written) => {
      text += written;
    },
    getOutHelpWidth: () => 110,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  // The flags of the configuration are a page of their own.
  const trimmed = text.replace(
    /\nConfiguration:\n(?: .*\n)*/,
    '\nConfiguration: one flag for each key, see docs/reference/config.md.\n',
  );
  const name = /^Usage: (shoal(?: [a-z]+)+)/.exec(trimmed)?.[1] ?? `shoal ${command.name()}`;
  return `## \`${name}\`\n\n\`\`\`text\n${trimmed.trim()}\n\`\`\`\n`;
}

/** Types of other folders that the API writes as they are. */
const apiTypes: readonly (readonly [string, string])[] = [
  ['HealthCondition', 'src/health/health.ts'],
  ['StoreUsage', 'src/store/blob-store.ts'],
  ['OriginStatus', 'src/origin/origin.ts'],
  ['Member', 'src/discovery/membership.ts'],
  ['SwarmPeer', 'src/swarm/swarm.ts'],
  ['Transfer', 'src/swarm/swarm.ts'],
  ['BytesBySource', 'src/swarm/swarm.ts'],
  ['ImageSummary', 'src/image/images.ts'],
  ['PullProgress', 'src/image/images.ts'],
];

const plainRoutes: Readonly<Record<string, string>> = {
  'GET /livez': '200 `{"isLive":true}` as long as the process answers.',
  'GET /readyz': '200 when ready, else 503; `ReadyAnswer` with what is wrong.',
  'GET /metrics': 'The metrics in the Prometheus text format; see [metrics](metrics.md).',
  'GET /api/v1/status': '`StatusAnswer`: version, health, store, peers, origins.',
  'GET /api/v1/peers':
    '`PeersAnswer`: members of the fleet and what was exchanged with them, bans with their evidence.',
  'GET /api/v1/transfers':
    '`TransfersAnswer`: downloads under way with pieces, rates by source and what they wait for, and the last 256 that ended.',
  'GET /api/v1/explain':
    '`ExplainAnswer`: why the latest pull of `?reference=` (and `&platform=`) took as long as it did; remembered over restarts.',
  'GET /api/v1/images': '`ImagesAnswer`: what this node holds, by repository and tag.',
  'POST /api/v1/pull':
    'Takes a `PullOrder`, answers `PullLine` objects, one a line (`application/x-ndjson`), as the pull goes on.',
};

export function adminApiPage(root: string): string {
  const read = (path: string) => readFileSync(join(root, path), 'utf8');
  const server = read('src/admin/start-admin.ts');
  const routes = [...server.matchAll(/app\.(get|post|put|delete)\(\s*'([^']+)'/g)].map(
    ([, method = '', path = '']) => `${method.toUpperCase()} ${path}`,
  );
  const undescribed = routes.filter((route) => plainRoutes[route] === undefined);
  if (undescribed.length > 0) throw new Error(`describe ${undescribed.join(', ')} in docs/reference-pages.ts`);
  const api = read('src/admin/api.ts')
    .replace(/^import .*\n/gm, '')
    .trim();
  const types = apiTypes.map(([name, path]) => declarationOf(name, read(path), path));
  const errors = codesOf(read('src/admin/errors.ts')).map(({ code: errorCode, text }) => [
    code(errorCode),
    String(toAnswer(new AdminError(errorCode as AdminErrorCode, '')).status),
    text,
  ]);
  const head = pageHead(
    'Admin API',
    '`src/admin/api.ts` and `src/admin/start-admin.ts`',
    `Answers at \`admin.listen\` (default \`127.0.0.1:5001\`), JSON over HTTP. Requests that change something (\`POST\`) need
\`Authorization: Bearer <admin.token>\` where a token is set, and come from this machine where none is set. Every request must name an address
of this machine, a loopback name or one of \`admin.hosts\` in its \`Host\` header, so that no page in a browser can reach the API.`,
  );
  return `${head}
${table(
  ['Request', 'Answer'],
  routes.map((route) => [code(route), plainRoutes[route] ?? '']),
)}

## Errors

The body of an error is \`{"error":{"code","message","remedy"}}\`. A pull that fails after its first line says so in its last line.

${table(['Code', 'Status', 'Meaning'], errors)}

## Types

\`\`\`ts
${api}
\`\`\`

The types they are made of:

\`\`\`ts
${types.join('\n\n')}
\`\`\`
`;
}

/** Cuts one exported declaration out of a source file. */
function declarationOf(name: string, text: string, path: string): string {
  const match = new RegExp(`export (?:interface ${name} \\{[\\s\\S]*?\\n\\}|type ${name} =[\\s\\S]*?;\\n(?=\\n))`).exec(
    text,
  );
  if (match === null) throw new Error(`${path} has no ${name}`);
  return `// ${path}\n${match[0].trim()}`;
}
