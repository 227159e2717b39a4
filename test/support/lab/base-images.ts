/**
 * Base images made on this machine, for building Shoal's own image where no registry can be reached: the runtime libraries and the
 * static busybox of Debian, and for the build base also the locked Node, npm and npm's cache.
 */
import { cpSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nodeProgram } from '../shoal-node.ts';
import { findProgram, runCommand } from './client.ts';
import type { Dockerd } from './docker-client.ts';

const commands = ['sh', 'env', 'mkdir', 'cp', 'rm', 'ls', 'cat', 'uname'];

async function must(command: string, args: readonly string[], timeoutMs = 300_000): Promise<string> {
  const outcome = await runCommand(command, args, { timeoutMs });
  if (outcome.exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: ${outcome.output}`);
  return outcome.output.trim();
}

function copyInto(root: string, path: string, target = path): void {
  mkdirSync(join(root, dirname(target)), { recursive: true });
  cpSync(path, join(root, target), { dereference: true, recursive: true });
}

/** What a small glibc base such as distroless "cc" holds: the C, C++ and compiler runtime of Debian. */
const runtimePackages = ['libc6', 'libgcc-s1', 'libstdc++6'];

async function copyLibraries(root: string): Promise<void> {
  const listed = await must('dpkg', ['-L', ...runtimePackages]);
  for (const path of new Set(listed.split('\n'))) {
    if (/\/lib[^/]*\.so[.0-9]*$|\/ld-linux[^/]*$/.test(path) && statSync(path).isFile()) copyInto(root, path);
  }
}

async function importImage(dockerd: Dockerd, root: string, name: string): Promise<void> {
  const archive = `${root}.tar`;
  await must('tar', ['-C', root, '-cf', archive, '.']);
  const imported = await dockerd.docker(['import', archive, name], { timeoutMs: 300_000 });
  if (imported.exitCode !== 0) throw new Error(`docker import: ${imported.output}`);
  rmSync(archive);
}

/** Makes both bases in a dockerd. */
export async function importBaseImages(
  dockerd: Dockerd,
  directory: string,
  runtime: string,
  build: string,
): Promise<void> {
  const root = join(directory, 'base');
  const busybox = findProgram('busybox');
  if (busybox === undefined) throw new Error('busybox is missing (Debian: apt-get install busybox-static)');
  const node = await must('readlink', ['-f', nodeProgram]);
  await copyLibraries(root);
  copyInto(root, busybox, '/bin/busybox');
  mkdirSync(join(root, 'tmp'), { mode: 0o1777 });
  await importImage(dockerd, root, runtime);

  for (const command of commands) symlinkSync('busybox', join(root, 'bin', command));
  // #!/usr/bin/env node is the first line of npm and tsc.
  mkdirSync(join(root, 'usr', 'bin'), { recursive: true });
  symlinkSync('/bin/busybox', join(root, 'usr', 'bin', 'env'));
  copyInto(root, node, '/usr/bin/node');
  const npm = await must('readlink', ['-f', findProgram('npm') ?? 'npm']);
  copyInto(root, dirname(dirname(npm)), '/usr/lib/node_modules/npm');
  symlinkSync('/usr/lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr', 'bin', 'npm'));
  const cache = await must('npm', ['config', 'get', 'cache', '--loglevel', 'error']);
  copyInto(root, join(cache, '_cacache'), '/npm-cache/_cacache');
  // Without a user database there is no home directory to look into.
  mkdirSync(join(root, 'usr', 'etc'), { recursive: true });
  writeFileSync(join(root, 'usr', 'etc', 'npmrc'), 'cache=/npm-cache\n');
  await importImage(dockerd, root, build);
  rmSync(root, { recursive: true, force: true });
}
