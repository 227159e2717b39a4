import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..', '..', '..');
const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { engines: { node: string } };

/** Runs `shoal version` on a Node that calls itself by another version. */
function versionOn(nodeVersion: string) {
  const pretend = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${nodeVersion}' } });`;
  const args = [
    '--import',
    `data:text/javascript,${encodeURIComponent(pretend)}`,
    join(root, 'src', 'main.ts'),
    'version',
  ];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

describe('the version of Node', () => {
  const [oldest] = /\d+/.exec(engines.node) ?? [];

  it('is refused below what package.json asks for, with what to do', () => {
    const { status, stdout, stderr } = versionOn(`${Number(oldest) - 1}.99.0`);
    expect(status).toBe(7);
    expect(stdout).toBe('');
    expect(stderr).toContain(`${oldest} or newer is needed`);
    expect(stderr).toContain('npm start');
  });

  it('is taken from there on', () => {
    const { status, stdout } = versionOn(`${oldest}.0.0`);
    expect(status).toBe(0);
    expect(stdout).toContain('shoal ');
  });
});
