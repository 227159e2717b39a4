/**
 * `npm run docs`: writes the reference pages, and the generated parts of other pages, from the sources. `--check` writes nothing and
 * fails when a page differs from what would be written, or when a page names a file or page that does not exist.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { benchTable } from './bench-table.ts';
import { adminApiPage, cliPage, configPage, errorsPage, metricsPage } from './reference-pages.ts';
import { wireVectors } from './wire-vectors.ts';

const root = join(import.meta.dirname, '..');
const isCheck = process.argv.includes('--check');

/** Pages that are generated whole. */
const pages: readonly (readonly [string, () => Promise<string> | string])[] = [
  ['docs/reference/config.md', configPage],
  ['docs/reference/cli.md', cliPage],
  ['docs/reference/metrics.md', () => metricsPage(root)],
  ['docs/reference/errors.md', () => errorsPage(root)],
  ['docs/reference/admin-api.md', () => adminApiPage(root)],
];

/** Parts between `<!-- generated: name -->` and `<!-- end of generated -->` in pages written by hand. */
const parts: readonly (readonly [string, string, () => Promise<string> | string])[] = [
  ['README.md', 'bench', () => benchTable(root)],
  ['docs/protocol.md', 'vectors', wireVectors],
];

function replacePart(text: string, path: string, name: string, content: string): string {
  const begin = `<!-- generated: ${name} -->`;
  const end = '<!-- end of generated -->';
  const from = text.indexOf(begin);
  const to = text.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`${path} has no part "${name}"`);
  return `${text.slice(0, from + begin.length)}\n${content.trim()}\n${text.slice(to)}`;
}

/** Finds links and paths in back quotes that lead nowhere. */
function findDeadNames(path: string, text: string): string[] {
  const dead: string[] = [];
  for (const [, target = ''] of text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    if (!existsSync(join(root, dirname(path), target))) dead.push(`${path}: link to ${target}`);
  }
  for (const [, target = ''] of text.matchAll(/`((?:src|test|bench|config|docs)\/[\w./-]+)`/g)) {
    if (!existsSync(join(root, target))) dead.push(`${path}: names ${target}`);
  }
  return dead;
}

function listPages(): string[] {
  const inDocs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' });
  const below = inDocs.filter((name) => name.endsWith('.md')).map((name) => join('docs', name));
  return ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', ...below];
}

async function main(): Promise<number> {
  const written = new Map<string, string>();
  const current = (path: string) => (existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : '');
  for (const [path, create] of pages) written.set(path, `${(await create()).trim()}\n`);
  for (const [path, name, create] of parts) {
    written.set(path, replacePart(written.get(path) ?? current(path), path, name, await create()));
  }
  const stale = [...written].filter(([path, text]) => current(path) !== text).map(([path]) => path);
  if (!isCheck) {
    for (const path of stale) {
      mkdirSync(join(root, dirname(path)), { recursive: true });
      writeFileSync(join(root, path), written.get(path) ?? '');
      process.stdout.write(`wrote ${path}\n`);
    }
  }
  const dead = listPages().flatMap((path) => findDeadNames(path, written.get(path) ?? current(path)));
  for (const line of dead) process.stderr.write(`${line}, which does not exist\n`);
  if (isCheck)
    for (const path of stale) process.stderr.write(`${relative('.', path)} is stale; run \`npm run docs\`\n`);
  return dead.length > 0 || (isCheck && stale.length > 0) ? 1 : 0;
}

process.exitCode = await main();
