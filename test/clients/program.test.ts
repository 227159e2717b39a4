import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { nodeProgram } from '../support/shoal-node.ts';

const root = join(import.meta.dirname, '..', '..');
const question = `
import { findCompiledProgram } from ${JSON.stringify(join(root, 'src', 'cli', 'compiled-program.ts'))};
console.log(findCompiledProgram(${JSON.stringify(join(root, 'dist', 'bundle', 'shoal.cjs'))}) !== undefined);`;

it('is the one the other tests of this folder run: bundled, with code that this Node takes', () => {
  const answer = execFileSync(nodeProgram, ['--input-type=module', '-e', question], { encoding: 'utf8' });
  expect(answer.trim()).toBe('true');
});
