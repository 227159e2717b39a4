import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { exitCodeTexts } from '../src/cli/exit-codes.ts';
import { describeProblem } from '../src/cli/problem.ts';
import { createHealth } from '../src/health/conditions.ts';
import { observeHealth } from '../src/health/observe.ts';
import { CodedError } from '../src/lib/errors.ts';
import type { Logger } from '../src/lib/logger.ts';
import { findErrorAnswer } from '../src/registry/error-body.ts';
import type { Metrics } from '../src/telemetry/metrics.ts';
import { startProcessMetrics } from '../src/telemetry/process-metrics.ts';
import { createPrometheusMetrics } from '../src/telemetry/prometheus-metrics.ts';
import { code, pageHead, table } from './markdown.ts';

const quiet: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  trace: () => {},
  child: () => quiet,
};

function listSources(root: string): { path: string; text: string }[] {
  return readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(root, 'src', path), 'utf8') }));
}

/** Lists the metrics by creating all of them; a metric made nowhere a factory is found fails the page. */
export async function metricsPage(root: string): Promise<string> {
  const metrics = createPrometheusMetrics();
  const sources = listSources(root);
  for (const { path, text } of sources) {
    for (const [, name = ''] of text.matchAll(/^export function (create\w+Metrics)\(metrics: Metrics\)/gm)) {
      const module = (await import(pathToFileURL(join(root, 'src', path)).href)) as Record<string, unknown>;
      (module[name] as (metrics: Metrics) => unknown)(metrics);
    }
  }
  observeHealth(createHealth({ wallMs: () => 0 }), quiet, metrics)();
  startProcessMetrics(metrics)[Symbol.dispose]();

  const definitions = metrics.definitions().map((definition) => ({ ...definition, labels: definition.labels }));
  const known = new Set(definitions.map(({ name }) => name));
  // Made beside the process's own handlers of errors, which a page must not install.
  for (const { text } of sources) {
    for (const [, name = '', help = ''] of text.matchAll(/name: '(shoal_[a-z_]+)',\s*help:\s*'((?:[^'\\]|\\.)*)'/g)) {
      if (known.has(name)) continue;
      known.add(name);
      definitions.push({ name, kind: 'counter', help, labels: [] });
    }
  }
  const folders = [...new Set(definitions.map(({ name }) => folderOf(name)))].sort();
  const parts = folders.map((folder) => {
    const rows = definitions
      .filter(({ name }) => folderOf(name) === folder)
      .sort((left, right) => left.name.localeCompare(right.name))
      .map(({ name, kind, labels, help }) => [code(name), kind, labels.map(code).join(', '), help]);
    return `## ${folder === 'process' ? 'The process' : `\`src/${folder}\``}\n\n${table(['Metric', 'Kind', 'Labels', 'Meaning'], rows)}\n`;
  });
  const head = pageHead(
    'Metrics',
    'the metric factories of `src`',
    '`GET /metrics` on the admin address, Prometheus text format. No label holds a digest, a peer or a repository, so that the number of series stays the same in a fleet of any size.',
  );
  return `${head}\n${parts.join('\n')}`;
}

function folderOf(name: string): string {
  return /^shoal_([a-z]+)_/.exec(name)?.[1] ?? 'process';
}

export interface CodeInfo {
  readonly code: string;
  readonly text: string;
  /** What the error says beside its text. */
  readonly details: string;
}

/** Reads a union of error codes with the comments above its members; a member without one shares that of the member before. */
export function codesOf(text: string): readonly CodeInfo[] {
  const codes: CodeInfo[] = [];
  for (const [, union = ''] of text.matchAll(/export type \w+ErrorCode =([\s\S]*?);\n/g)) {
    let last = '';
    for (const [, comment, name = ''] of union.matchAll(/(?:\/\*\* ([\s\S]*?) \*\/\s*)?\|?\s*'([A-Z_]+)'/g)) {
      last = comment ?? last;
      const details = /\{([^{}]*)\}\s*$/.exec(last)?.[1] ?? '';
      codes.push({ code: name, details, text: last.replace(/\s*\{[^{}]*\}\s*$/, '').replace(/[;.]?$/, '.') });
    }
  }
  return codes;
}

export function errorsPage(root: string): string {
  const sources = listSources(root);
  const files = sources.filter(({ path }) => /^\w+\/errors\.ts$/.test(path) || path === 'lib/wire.ts');
  const parts = files.flatMap(({ path, text }) => {
    const codes = codesOf(text);
    if (codes.length === 0) return [];
    const rows = codes.map((info) => [
      code(info.code),
      info.text,
      info.details.split(', ').filter(Boolean).map(code).join(', '),
    ]);
    return [`### \`src/${path.slice(0, path.indexOf('/'))}\`\n\n${table(['Code', 'Meaning', 'Details'], rows)}\n`];
  });
  const all = files.flatMap(({ text }) => codesOf(text));
  const head = pageHead(
    'Errors and health conditions',
    '`src/*/errors.ts`, `src/cli/problem.ts`, `src/registry/error-body.ts`',
    'Codes stand in logs (`error.code`), in the answers of the admin API and in what `--json` prints. They are stable; messages are not. What to do about them: [troubleshooting](../operations/troubleshooting.md).',
  );
  return `${head}
## Health conditions

Shown by \`shoal status\`, \`/readyz\` and \`/api/v1/status\`. \`blocking\` = not ready, \`degraded\` = works worse, \`notice\` = worth knowing.

${table(['Code', 'Severity', 'Text', 'Remedy'], conditionsOf(sources))}

## What a command ends with

${table(['Code', 'Exit code', 'Remedy'], exitRows(all))}

Any other code ends a command with 1: ${exitCodeTexts[1]}.

## What a container client is answered

${table(['Code', 'Status', 'OCI code', 'Message'], registryRows(all))}

## Error codes by folder

${parts.join('\n')}`;
}

function exitRows(codes: readonly CodeInfo[]): readonly (readonly string[])[] {
  return codes
    .map((info) => ({ info, problem: describeProblem(new CodedError(info.code, '')) }))
    .filter(({ problem }) => problem.remedy !== undefined)
    .map(({ info, problem }) => [
      code(info.code),
      `${problem.exitCode}: ${exitCodeTexts[problem.exitCode]}`,
      problem.remedy ?? '',
    ]);
}

function registryRows(codes: readonly CodeInfo[]): readonly (readonly string[])[] {
  return codes.flatMap((info) => {
    const answer = findErrorAnswer(new CodedError(info.code, ''));
    return answer === undefined ? [] : [[code(info.code), String(answer.status), code(answer.code), answer.message]];
  });
}

/** Finds the conditions as they are written: code, severity, text, remedy, in this order. */
function conditionsOf(sources: readonly { text: string }[]): readonly (readonly string[])[] {
  const literal = "(?:'((?:[^'\\\\]|\\\\.)*)'|`([^`]*)`)";
  const pattern = new RegExp(
    `code: '([A-Z_]+)',\\s*severity: '(\\w+)',\\s*text: ${literal},\\s*remedy:\\s*${literal}`,
    'g',
  );
  const rows = sources.flatMap(({ text }) =>
    [...text.matchAll(pattern)].map(([, name = '', severity = '', plain, template, remedy, remedyTemplate]) => [
      code(name),
      severity,
      (plain ?? template ?? '').replace(/\$\{(?:[^{}]|\{[^{}]*\})*\}/g, '…').replaceAll("\\'", "'"),
      (remedy ?? remedyTemplate ?? '').replaceAll("\\'", "'"),
    ]),
  );
  const named = sources.flatMap(({ text }) =>
    [...text.matchAll(/code: '([A-Z_]+)',\s*severity/g)].map(([, name]) => name),
  );
  if (rows.length !== named.length)
    throw new Error(`of ${named.length} health conditions only ${rows.length} can be read`);
  return rows.sort((left, right) => (left[0] ?? '').localeCompare(right[0] ?? ''));
}
