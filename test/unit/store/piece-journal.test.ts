import { appendFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PieceJournal } from '../../../src/store/disk/piece-journal.ts';
import { systemFiles } from '../../../src/store/files/files.ts';
import { sampleBlob } from '../../support/store-fixtures.ts';

const recordBytes = 164;

describe('PieceJournal', () => {
  const blob = sampleBlob(2_000_000);
  const size = blob.bytes.length;
  let directory: string;
  let path: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'shoal-journal-'));
    path = join(directory, 'pieces');
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  const read = (sizeBytes = size) => PieceJournal.read(systemFiles, path, sizeBytes);
  const fill = async () => {
    const journal = await PieceJournal.create(systemFiles, path, size, []);
    for (const piece of blob.pieces) await journal.append(piece);
    await journal.close();
  };

  it('reads what it wrote', async () => {
    await fill();
    expect([...((await read())?.values() ?? [])]).toEqual(blob.pieces);
  });

  it('starts from given pieces', async () => {
    await (await PieceJournal.create(systemFiles, path, size, blob.pieces)).close();
    expect([...((await read())?.values() ?? [])]).toEqual(blob.pieces);
  });

  it('takes the last word on a piece', async () => {
    const journal = await PieceJournal.create(systemFiles, path, size, blob.pieces);
    await journal.appendDropped(1);
    await journal.appendDropped(2);
    await journal.append(blob.pieces[2] ?? raise());
    await journal.close();
    const pieces = await read();
    expect(pieces?.has(1)).toBe(false);
    expect(pieces?.get(2)).toEqual(blob.pieces[2]);
  });

  it('is none for an absent file, another size or a strange header', async () => {
    expect(await read()).toBeUndefined();
    await fill();
    expect(await read(size + 1)).toBeUndefined();
    await writeFile(path, 'shoal');
    expect(await read()).toBeUndefined();
    await writeFile(path, Buffer.alloc(3 * recordBytes));
    expect(await read()).toBeUndefined();
  });

  it.each([1, recordBytes - 1, recordBytes, recordBytes + 1])('cuts a tail that lacks %i bytes', async (lacking) => {
    await fill();
    await truncate(path, (await stat(path)).size - lacking);
    const lost = Math.ceil(lacking / recordBytes);
    expect([...((await read())?.keys() ?? [])]).toEqual([...blob.pieces.keys()].slice(0, -lost));
  });

  it('passes over a record that is damaged and reads those behind it', async () => {
    await fill();
    const bytes = await readFile(path);
    bytes.writeUInt8(bytes.readUInt8(2 * recordBytes + 50) ^ 1, 2 * recordBytes + 50);
    await writeFile(path, bytes);
    await appendFile(path, 'noise at the end');
    expect([...((await read())?.keys() ?? [])]).toEqual([...blob.pieces.keys()].filter((index) => index !== 1));
  });

  it('reads a journal longer than its read step', async () => {
    const journal = await PieceJournal.create(systemFiles, path, size, []);
    for (let index = 0; index < 2100; index += 1) {
      await journal.append({ ...(blob.pieces[0] ?? raise()), index });
    }
    await journal.close();
    expect((await read())?.size).toBe(2100);
  });

  it('refuses pieces that do not fit a record', async () => {
    const journal = await PieceJournal.create(systemFiles, path, size, []);
    const piece = blob.pieces[0] ?? raise();
    await expect(journal.append({ ...piece, hash: new Uint8Array(31) })).rejects.toThrow(RangeError);
    await expect(journal.append({ ...piece, signature: new Uint8Array(65) })).rejects.toThrow(RangeError);
    await journal.close();
  });
});

function raise(): never {
  throw new Error('no such piece');
}
