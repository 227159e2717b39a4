import { describe, expect, it } from 'vitest';
import { type Files, systemFiles } from '../../../src/store/files/files.ts';
import { OpenFile } from '../../../src/store/files/open-file.ts';

describe('OpenFile', () => {
  it('closes only after the reads under way', async () => {
    const reading = Promise.withResolvers<number>();
    const calls: string[] = [];
    const files: Files = {
      ...systemFiles,
      read: () => reading.promise,
      close: async () => {
        calls.push('closed');
      },
    };
    const file = new OpenFile(files, 7);
    const read = file.read(Buffer.alloc(1), 0).then(() => calls.push('read'));
    const closed = Promise.all([file.close(), file.close()]);
    await expect(file.read(Buffer.alloc(1), 0)).rejects.toThrow('after it was closed');
    expect(calls).toEqual([]);
    reading.resolve(1);
    await Promise.all([read, closed]);
    expect(new Set(calls)).toEqual(new Set(['read', 'closed']));
  });

  it('fills a target from short reads', async () => {
    const bytes = Buffer.from('abcdefgh');
    const files: Files = {
      ...systemFiles,
      read: async (_, target, position) => {
        const part = bytes.subarray(position, position + Math.min(3, target.length));
        target.set(part);
        return part.length;
      },
    };
    const target = Buffer.alloc(10);
    expect(await new OpenFile(files, 7).readFully(target, 0)).toBe(8);
    expect(target.toString('latin1', 0, 8)).toBe('abcdefgh');
  });
});
