import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NameLogFile, readNameLog } from '../../../src/store/disk/name-log-file.ts';
import { systemFiles } from '../../../src/store/files/files.ts';
import type { NameEntry } from '../../../src/store/metadata/name-log.ts';
import { sampleBlob } from '../../support/store-fixtures.ts';

const repository = { namespace: 'docker.io', name: 'library/nginx' };
const { digest } = sampleBlob(10);
const link: NameEntry = { kind: 'link', repository, digest, mediaType: 'a/b', provenance: 'local', storedAtMs: 5 };
const tag = (name: string, confirmedAtMs = 1): NameEntry => ({
  kind: 'tag',
  repository,
  tag: name,
  record: { digest, mediaType: 'a/b', sizeBytes: 3, confirmedAtMs },
});

async function* each(...entries: NameEntry[]): AsyncIterable<NameEntry> {
  yield* entries;
}

describe('NameLogFile', () => {
  let directory: string;
  let path: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'shoal-names-'));
    path = join(directory, 'names.log');
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  const read = async () => {
    const { names, isWhole } = await readNameLog(systemFiles, path);
    return { entries: [...names.values()], isWhole };
  };

  it('keeps the last word on each name', async () => {
    const log = await NameLogFile.create(systemFiles, path, each(link, tag('a'), tag('b')));
    await Promise.all([
      log.append(tag('c')),
      log.append({ kind: 'untag', repository, tag: 'a' }),
      log.append(tag('b', 9)),
    ]);
    await log.sync();
    await log.close();
    const { entries, isWhole } = await read();
    expect(isWhole).toBe(true);
    expect(new Set(entries)).toEqual(new Set([link, tag('b', 9), tag('c')]));
  });

  it('goes on with what is there', async () => {
    await (await NameLogFile.create(systemFiles, path, each(link))).close();
    const log = await NameLogFile.open(systemFiles, path);
    await log.append(tag('a'));
    await log.close();
    expect((await read()).entries).toEqual([link, tag('a')]);
  });

  it('shrinks to what is alive, with what was appended meanwhile', async () => {
    const log = await NameLogFile.create(systemFiles, path, each());
    for (let round = 0; round < 200; round += 1) await log.append(tag('a', round));
    const beforeBytes = (await stat(path)).size;
    await Promise.all([log.compact(each(tag('a', 199))), log.append(tag('b'))]);
    await log.append(tag('c'));
    await log.close();
    expect((await stat(path)).size).toBeLessThan(beforeBytes / 20);
    expect((await read()).entries).toEqual([tag('a', 199), tag('b'), tag('c')]);
  });

  it('tells when rewriting is worth while', async () => {
    const log = await NameLogFile.create(systemFiles, path, each());
    expect(log.isBloated).toBe(false);
    const long = { ...tag('a'), tag: 'x'.repeat(500_000) };
    for (let round = 0; round < 9; round += 1) await log.append(long);
    expect(log.isBloated).toBe(true);
    await log.compact(each(long));
    expect(log.isBloated).toBe(false);
    await log.close();
  });

  it('is not whole when absent, torn or damaged, and gives what can be read', async () => {
    expect(await read()).toEqual({ entries: [], isWhole: false });
    await (await NameLogFile.create(systemFiles, path, each(link, tag('a'), tag('b')))).close();
    const whole = await readFile(path, 'utf8');
    await writeFile(path, whole.slice(0, -4));
    expect(await read()).toEqual({ entries: [link, tag('a')], isWhole: false });
    await writeFile(path, whole.replace('"a"', '"z"'));
    expect(await read()).toEqual({ entries: [link, tag('b')], isWhole: false });
    await writeFile(path, whole);
    await appendFile(path, '00000000 {"kind":"tag"}\n\n');
    expect((await read()).entries).toHaveLength(3);
  });
});
