import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findCompiledProgram, loadProgram, programFoot, programHead } from '../../../src/cli/compiled-program.ts';

const program = `${programHead}
const { readFileSync } = require('node:fs');
exports.runCli = async (args) => args.length + readFileSync(__filename).length - require('node:url').fileURLToPath(__bundleUrl).length;
${programFoot}`;

describe('the compiled program', () => {
  let directory: string;
  let path: string;
  const code = () => `${path}.code`;
  const result = () => program.length + 2 - path.length;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'shoal-program-'));
    path = join(directory, 'shoal.cjs');
    writeFileSync(path, program);
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('runs, and runs again from the code it has kept', async () => {
    const first = loadProgram(path);
    expect(await first.runCli(['one', 'two'])).toBe(result());
    first.keepCode();
    expect(readdirSync(directory).sort()).toEqual(['shoal.cjs', 'shoal.cjs.code']);
    const again = findCompiledProgram(path);
    expect(await again?.runCli(['one', 'two'])).toBe(result());
  });

  it('is not there before its code was kept, nor without the file', () => {
    expect(findCompiledProgram(path)).toBeUndefined();
    expect(findCompiledProgram(join(directory, 'absent.cjs'))).toBeUndefined();
    expect(() => loadProgram(join(directory, 'absent.cjs'))).toThrow('ENOENT');
  });

  it.each([
    ['empty', () => Buffer.alloc(0)],
    ['cut', (bytes: Buffer) => bytes.subarray(0, bytes.length - 1)],
    ['flipped', (bytes: Buffer) => bytes.fill((bytes.at(-9) ?? 0) ^ 1, bytes.length - 9, bytes.length - 8)],
    ['of something else', () => Buffer.from('no code of V8 at all')],
  ])('is not there when its code is %s', (_, damage) => {
    loadProgram(path).keepCode();
    writeFileSync(code(), damage(readFileSync(code())));
    expect(findCompiledProgram(path)).toBeUndefined();
  });

  it('is not there when its text is another of the same length', () => {
    loadProgram(path).keepCode();
    writeFileSync(path, program.replace('args.length +', 'args.length -'));
    expect(findCompiledProgram(path)).toBeUndefined();
  });
});
