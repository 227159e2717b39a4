import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { threadCpuSeconds } from '../../../src/content/thread-cpu.ts';
import { HashLoop } from '../../../src/content/worker/hash-loop.ts';
import type { HashReport } from '../../../src/content/worker/messages.ts';
import { digestHex, digestOf } from '../../../src/oci/digest.ts';

const folder = mkdtempSync(join(tmpdir(), 'shoal-hash-loop-'));
afterAll(() => rmSync(folder, { recursive: true }));

function started() {
  const reports: HashReport[] = [];
  const loop = new HashLoop((report) => reports.push(report));
  const until = async (type: HashReport['type'], id: number) => {
    while (!reports.some((report) => report.type === type && report.id === id)) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { loop, reports, until };
}

function fileOf(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

describe('HashLoop', () => {
  it('hashes blobs in turns and closes what is finished', async () => {
    const { loop, reports, until } = started();
    const bytes = Buffer.alloc(9 * 1024 * 1024, 'x');
    const path = fileOf('turns', bytes);
    for (const id of [1, 2]) {
      loop.receive({ type: 'open', id, algorithm: 'sha256', path });
      loop.receive({ type: 'finish', id, sizeBytes: bytes.length });
    }
    await until('finished', 2);
    expect(reports.filter(({ type }) => type === 'hashed').map(({ id }) => id)).toEqual([1, 2, 1, 2, 1, 2]);
    expect(reports.at(-1)).toMatchObject({ type: 'finished', hex: digestHex(digestOf(bytes)) });
    expect(loop.size).toBe(0);
  });

  it('ignores messages for a blob it does not have, and turns of one that was closed', async () => {
    const { loop, reports, until } = started();
    const path = fileOf('closed', Buffer.alloc(10));
    loop.receive({ type: 'advance', id: 1, endBytes: 5 });
    loop.receive({ type: 'open', id: 2, algorithm: 'sha256', path });
    loop.receive({ type: 'advance', id: 2, endBytes: 5 });
    loop.receive({ type: 'advance', id: 2, endBytes: 6 });
    loop.receive({ type: 'close', id: 2 });
    loop.receive({ type: 'open', id: 3, algorithm: 'sha512', path });
    loop.receive({ type: 'advance', id: 3, endBytes: 5 });
    await until('hashed', 3);
    loop.receive({ type: 'close', id: 3 });
    expect(reports).toHaveLength(1);
    expect(loop.size).toBe(0);
  });

  it('tells of files that are short or absent', async () => {
    const { loop, reports, until } = started();
    loop.receive({ type: 'open', id: 1, algorithm: 'sha256', path: fileOf('short', Buffer.alloc(10)) });
    loop.receive({ type: 'finish', id: 1, sizeBytes: 11 });
    loop.receive({ type: 'open', id: 2, algorithm: 'sha256', path: join(folder, 'absent') });
    loop.receive({ type: 'advance', id: 2, endBytes: 1 });
    await until('failed', 2);
    expect(reports).toMatchObject([
      { id: 1, code: 'CONTENT_SHORT', positionBytes: 10 },
      { id: 2, code: 'CONTENT_READ_FAILED', positionBytes: 0, reason: expect.stringContaining('ENOENT') },
    ]);
    expect(loop.size).toBe(0);
  });
});

describe('threadCpuSeconds', () => {
  it('never goes back, on a Node that cannot tell them too', () => {
    const first = threadCpuSeconds();
    expect(threadCpuSeconds()).toBeGreaterThanOrEqual(first);
    const original = process.threadCpuUsage;
    vi.stubGlobal(
      'process',
      new Proxy(process, { get: (target, key) => (key === 'threadCpuUsage' ? undefined : Reflect.get(target, key)) }),
    );
    const stand = threadCpuSeconds();
    expect(threadCpuSeconds()).toBeGreaterThanOrEqual(stand);
    vi.unstubAllGlobals();
    expect(process.threadCpuUsage).toBe(original);
  });
});
