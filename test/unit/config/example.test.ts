import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { exampleConfig } from '../../../src/config/example.ts';
import { configKeys } from '../../../src/config/keys.ts';
import { configSchema } from '../../../src/config/schema.ts';

const file = readFileSync(new URL('../../../config/shoal.yaml', import.meta.url), 'utf8');

test('config/shoal.yaml is what `shoal config example` prints', () => {
  expect(file).toBe(exampleConfig());
});

test('the example is accepted as it stands and sets nothing', () => {
  const sections = Object.values(parse(file) as Record<string, unknown>);
  expect(sections.every((section) => section === null)).toBe(true);
});

test('the example with every key switched on holds every key and is accepted', () => {
  const data = parse(file.replace(/^( *)#(?! |$)/gm, '$1').replace(/^( *)#( {2,}\S)/gm, '$1$2')) as Record<
    string,
    unknown
  >;
  const missing = configKeys.filter((key) => {
    let at: unknown = data;
    for (const segment of key.segments) at = (at as Record<string, unknown> | undefined)?.[segment];
    return at === undefined;
  });
  expect(missing.map((key) => key.path)).toEqual([]);
  const result = configSchema.safeParse(data);
  expect(result.error?.issues ?? []).toEqual([]);
});

test('every key says what it means', () => {
  for (const key of configKeys) expect(key.text, key.path).toMatch(/^\S.{15,}/);
});
