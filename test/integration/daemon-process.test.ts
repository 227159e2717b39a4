import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { startEmbeddedOrigin } from '../../src/cli/demo/embedded-origin.ts';
import { generateImage } from '../../src/cli/demo/generated-image.ts';
import type { Transfer } from '../../src/swarm/swarm.ts';

const main = new URL('../../src/main.ts', import.meta.url).pathname;
const MiB = 2 ** 20;

let directory: string;
let children: ChildProcess[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'shoal-process-'));
  children = [];
});
afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
  await rm(directory, { recursive: true, force: true, maxRetries: 5 });
});

interface Run {
  readonly child: ChildProcess;
  readonly lines: AsyncIterator<string>;
  readonly ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
}

function run(args: readonly string[], env: Record<string, string> = {}): Run {
  const child = spawn(process.execPath, [main, ...args], {
    env: { PATH: process.env['PATH'] ?? '', HOME: directory, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr }));
  return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator](), ended };
}

const serveArgs = (extra: readonly string[] = []) => [
  'serve',
  '--dataDir',
  join(directory, 'data'),
  ...['registry', 'admin', 'peer'].flatMap((part) => [`--${part}.listen`, '127.0.0.1:0']),
  '--peer.bulkListen',
  '127.0.0.1:0',
  ...extra,
];

async function serve(extra: readonly string[] = []): Promise<Run & { registry: string; admin: string }> {
  const running = run(serveArgs(['--json', ...extra]));
  const { value } = await running.lines.next();
  const ready = JSON.parse(String(value)) as { ready: true; registry: string; admin: string };
  expect(ready.ready, String(value)).toBe(true);
  return { ...running, ...ready };
}

async function scrape(admin: string): Promise<Readonly<Record<string, number>>> {
  const text = await (await fetch(`http://${admin}/metrics`, { signal: AbortSignal.timeout(30_000) })).text();
  return Object.fromEntries([...text.matchAll(/^([a-z_]+) (\S+)$/gm)].map(([, name, value]) => [name, Number(value)]));
}

describe('shoal serve', () => {
  test('prints one line when ready and ends with 0 at SIGTERM', async () => {
    const node = await serve();
    node.child.kill('SIGTERM');
    const { code, stdout, stderr } = await node.ended;
    expect(code).toBe(0);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    expect(stderr).toContain('"msg":"stopped"');
  });

  test.runIf(process.platform === 'linux')('starts its hash thread before there is anything to hash', async () => {
    const node = await serve();
    const tasks = `/proc/${node.child.pid}/task`;
    const threads = () => readdirSync(tasks).map((id) => readFileSync(`${tasks}/${id}/comm`, 'utf8').trim());
    await vi.waitUntil(() => threads().includes('shoal-hash'), { timeout: 30_000 });
  });

  test('tells a person where it listens and what to do next', async () => {
    const running = run(serveArgs());
    while (!String((await running.lines.next()).value).includes('docs/clients.md'));
    running.child.kill('SIGINT');
    const { code, stdout } = await running.ended;
    expect(code).toBe(0);
    expect(stdout).toMatch(/registry {2}http:\/\/127\.0\.0\.1:\d+ /);
    expect(stdout).toContain('no fleet secret is set');
    expect(stdout).toContain('registry-mirrors');
  });

  test('goes on without its readers, and does not spin over lines that nobody takes', async () => {
    const node = await serve(['--log.level', 'trace', '--origins', '{"127.0.0.1:9":{"url":"http://127.0.0.1:9"}}']);
    node.child.stdout?.destroy();
    node.child.stderr?.destroy();
    const pulled = await run(['pull', '127.0.0.1:9/demo/app'], { SHOAL_ADMIN: node.admin }).ended;
    expect(pulled.code, 'the refused origin made the daemon write to the log').toBe(9);
    // What the start still has to do ends; a daemon that logs its own EPIPE never rests.
    const rested = async () => {
      const before = await scrape(node.admin);
      await new Promise((resolve) => setTimeout(resolve, 500));
      const after = await scrape(node.admin);
      expect(after['shoal_daemon_unexpected_errors_total']).toBe(0);
      return (after['process_cpu_seconds_total'] ?? 0) - (before['process_cpu_seconds_total'] ?? 0) < 0.2;
    };
    const deadlineMs = Date.now() + 60_000;
    let isAtRest = await rested();
    while (!isAtRest && Date.now() < deadlineMs) isAtRest = await rested();
    expect(isAtRest, 'half a second with less than 0.2 s of CPU').toBe(true);
    const exited = once(node.child, 'exit');
    node.child.kill('SIGTERM');
    expect(await exited).toEqual([0, null]);
  });

  test('lets in who sends the admin token, as `shoal pull` does', async () => {
    const token = 'at least sixteen';
    const node = await serve(['--admin.token', token, '--origins', '{"127.0.0.1:9":{"url":"http://127.0.0.1:9"}}']);
    const pull = (env: Record<string, string>) =>
      run(['pull', '127.0.0.1:9/demo/app', '--json'], { SHOAL_ADMIN: node.admin, ...env }).ended;
    expect((await pull({})).stdout).toContain('ADMIN_FORBIDDEN');
    // Let in, and told what the origin says.
    expect((await pull({ SHOAL_ADMIN_TOKEN: token })).stdout).toContain('IMAGE_UNAVAILABLE');
  });

  test('lets a running pull end at SIGTERM, and cuts it at the second', async () => {
    for (const cuts of [false, true]) {
      const gate = Promise.withResolvers<void>();
      const asked = Promise.withResolvers<void>();
      await using origin = await startEmbeddedOrigin({
        intercept: async ({ question }, next) => {
          if (question.kind === 'blob-get') {
            asked.resolve();
            await gate.promise;
          }
          return next();
        },
      });
      const { image, layers } = generateImage({ sizeBytes: 2 * MiB, architectures: ['amd64'], seed: 3 });
      origin.put('demo/app', ['latest'], image);
      const layer = layers.get('amd64')?.[0];
      const node = await serve(['--origins', JSON.stringify({ [origin.host]: { url: origin.url } })]);
      const url = `http://${node.registry}/v2/demo/app/blobs/${layer?.digest}?ns=${origin.host}`;
      const received = new Promise<number>((resolve) => {
        get(url, (response) => {
          let bytes = 0;
          response.on('data', (chunk: Buffer) => (bytes += chunk.length));
          response.on('end', () => resolve(bytes));
          response.on('error', () => resolve(-1));
        }).on('error', () => resolve(-1));
      });
      await asked.promise;
      node.child.kill('SIGTERM');
      await waitForLog(node, 'a second signal cuts');
      if (cuts) node.child.kill('SIGTERM');
      else gate.resolve();
      const { code } = await node.ended;
      gate.resolve();
      expect(code).toBe(cuts ? 130 : 0);
      expect(await received).toBe(cuts ? -1 : layer?.sizeBytes);
      await rm(join(directory, 'data'), { recursive: true, force: true });
    }
  });

  test('says what is wrong, to what, and what to do, and ends with the documented code', async () => {
    const lost = await run(serveArgs(['--fleet.bootstrap', 'nowhere'])).ended;
    expect(lost.code).toBe(3);
    expect(lost.stderr).toContain('"nowhere" is no bootstrap entry');
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const address = taken.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const port4 = await run(serveArgs(['--registry.listen', `127.0.0.1:${port}`])).ended;
    taken.close();
    expect(port4.code).toBe(4);
    expect(port4.stderr).toContain(`shoal: 127.0.0.1:${port} is taken by another process`);
    expect(port4.stderr).toContain('--registry.listen');

    const file = join(directory, 'shoal.yaml');
    await writeFile(file, 'registry:\n  lisen: x\n');
    const config3 = await run(serveArgs(['--config', file])).ended;
    expect(config3.code).toBe(3);
    expect(config3.stderr).toContain(`${file}:2:3: unknown key "registry.lisen"; did you mean "registry.listen"?`);

    const first = await serve();
    const locked5 = await run(serveArgs(['--json'])).ended;
    expect(locked5.code).toBe(5);
    expect(JSON.parse(locked5.stdout)).toMatchObject({ error: { code: 'STORE_LOCKED' } });
    expect(locked5.stdout).toContain('remedy');
    first.child.kill('SIGTERM');
    expect((await first.ended).code).toBe(0);

    const unwritable6 = await run(serveArgs(['--dataDir', join(file, 'below')])).ended;
    expect(unwritable6.code).toBe(6);
    expect(unwritable6.stderr).toContain('--dataDir');

    const usage2 = await run(['serve', '--no-such-flag']).ended;
    expect(usage2.code).toBe(2);
    const unreachable8 = await run(['status', '--admin', `127.0.0.1:${port}`]).ended;
    expect(unreachable8.code).toBe(8);
    expect(unreachable8.stderr).toContain('shoal serve');
  });
});

test('pull, status, peers and images talk to the daemon, as text and as JSON', async () => {
  await using origin = await startEmbeddedOrigin();
  const { image, root } = generateImage({ sizeBytes: 4 * MiB, architectures: ['amd64', 'arm64'], seed: 5 });
  origin.put('demo/app', ['latest'], image);
  const node = await serve(['--origins', JSON.stringify({ [origin.host]: { url: origin.url } })]);
  const env = { SHOAL_ADMIN: node.admin };

  const pulled = await run(['pull', `${origin.host}/demo/app:latest`, '--platform', 'linux/amd64', '--explain'], env)
    .ended;
  expect(pulled.stderr).toBe('');
  expect(pulled.code).toBe(0);
  expect(pulled.stdout).toContain(root);
  expect(pulled.stdout).toMatch(/done: 4\.\d+ MiB in /);
  expect(pulled.stdout).toMatch(/\d blobs, 4\.\d+ MiB, fetched in /);
  expect(pulled.stdout).toMatch(/bytes {3}origin /);
  expect(pulled.stdout).toMatch(/ {2}why {5}\S/);

  const again = await run(['pull', `${origin.host}/demo/app:latest`, '--platform', 'linux/amd64', '--json'], env).ended;
  const last = JSON.parse(again.stdout.trim().split('\n').at(-1) ?? '') as { kind: string; bytes: { origin: number } };
  expect(last).toMatchObject({ kind: 'done', bytes: { origin: 0, peer: 0 } });

  const unknown = await run(['pull', `${origin.host}/demo/none:latest`], env).ended;
  expect(unknown.code).toBe(9);
  expect(unknown.stderr).toMatch(/^shoal: .+\n/);

  const status = await run(['status', '--json'], env).ended;
  expect(JSON.parse(status.stdout)).toMatchObject({ status: { isReady: true }, transfers: expect.any(Array) });
  expect((await run(['status'], env).ended).stdout).toContain('ready');
  expect((await run(['peers'], env).ended).stdout).toContain('no peers');
  expect(JSON.parse((await run(['peers', '--json'], env).ended).stdout)).toEqual({ peers: [] });
  const images = await run(['images'], env).ended;
  expect(images.stdout).toContain(`${origin.host}/demo/app`);
  expect(images.stdout).toContain('latest');
  node.child.kill('SIGTERM');
  expect((await node.ended).code).toBe(0);
});

test('a restarted daemon still knows why a pull took as long as it did', async () => {
  await using origin = await startEmbeddedOrigin();
  origin.put('demo/app', ['latest'], generateImage({ sizeBytes: 2 * MiB, architectures: ['amd64'], seed: 5 }).image);
  const origins = ['--origins', JSON.stringify({ [origin.host]: { url: origin.url } })];
  const pull = async (admin: string) => {
    const args = ['pull', `${origin.host}/demo/app`, '--platform', 'linux/amd64', '--explain', '--json'];
    const { stdout } = await run(args, { SHOAL_ADMIN: admin }).ended;
    return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { kind: string; blobs: { transfer: object }[] };
  };
  const first = await serve(origins);
  const before = await pull(first.admin);
  expect(before).toMatchObject({ kind: 'explained', heldBefore: [], explanation: { bytes: { peer: 0 } } });
  expect(before.blobs.length).toBeGreaterThan(1);
  first.child.kill('SIGTERM');
  expect((await first.ended).code).toBe(0);

  const second = await serve(origins);
  const after = await pull(second.admin);
  expect(after).toEqual(before);
  second.child.kill('SIGTERM');
  expect((await second.ended).code).toBe(0);
});

test('a pull that a restart interrupts is one pull for who asks why it took so long', async () => {
  await using origin = await startEmbeddedOrigin();
  origin.put('demo/app', ['latest'], generateImage({ sizeBytes: 8 * MiB, architectures: ['amd64'], seed: 5 }).image);
  const origins = ['--origins', JSON.stringify({ [origin.host]: { url: origin.url } })];
  const pull = (admin: string, ...more: string[]) =>
    run(['pull', `${origin.host}/demo/app`, '--platform', 'linux/amd64', ...more], { SHOAL_ADMIN: admin }).ended;
  const slow = await serve([...origins, '--swarm.downloadBytesPerSecond', '256KiB']);
  const cut = pull(slow.admin);
  const transfers = async () => {
    const { stdout } = await run(['status', '--json'], { SHOAL_ADMIN: slow.admin }).ended;
    return (JSON.parse(stdout) as { transfers: Transfer[] }).transfers;
  };
  const isHalfway = ({ state, bytes }: Transfer) => state === 'fetching' && bytes.origin > 0;
  await vi.waitUntil(async () => (await transfers()).some(isHalfway), { timeout: 30_000 });
  slow.child.kill('SIGTERM');
  expect([(await slow.ended).code, (await cut).code === 0]).toEqual([0, false]);

  const fast = await serve(origins);
  const { stdout } = await pull(fast.admin, '--explain', '--json');
  const { blobs } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { blobs: { transfer: Transfer }[] };
  const resumed = blobs.map(({ transfer }) => transfer).filter(({ resumptions }) => resumptions > 0);
  expect(resumed.length).toBeGreaterThan(0);
  for (const { state, sizeBytes, bytes } of resumed)
    expect([state, bytes]).toEqual(['complete', { origin: sizeBytes, peer: 0, local: 0 }]);
  fast.child.kill('SIGTERM');
  expect((await fast.ended).code).toBe(0);
});

test('the demo ends with 0, verified figures and nothing left behind', async () => {
  const { code, stdout, stderr } = await run(['demo', '--size', '8MiB', '--nodes', '2', '--json'], {
    TMPDIR: directory,
  }).ended;
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const report = JSON.parse(stdout) as { imageBytes: number; originBytes: number; nodes: { layers: unknown[] }[] };
  expect(report.imageBytes).toBeGreaterThan(8 * MiB - 1024);
  expect(report.originBytes).toBeLessThan(2 * report.imageBytes);
  expect(report.nodes.map((node) => node.layers.length)).toEqual([8, 8]);
});

async function waitForLog(node: Run, text: string): Promise<void> {
  const found = Promise.withResolvers<void>();
  let log = '';
  node.child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
    if (log.includes(text)) found.resolve();
  });
  await found.promise;
}
