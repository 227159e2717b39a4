import { appendFile, chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { openTransferHistory } from '../../../src/daemon/transfer-history.ts';
import { findTransfer, transferLine } from '../../../src/daemon/transfer-record.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import type { Repository } from '../../../src/oci/repository.ts';
import type { Transfer } from '../../../src/swarm/swarm.ts';

const peer = '12D3KooWAP1psU5fpFDY74MUs7YYUiDqHCHk9f627rRb4fEGNo78' as PeerId;

function transfer(name: string, figures: Partial<Transfer> = {}): Transfer {
  return {
    digest: digestOf(Buffer.from(name)),
    sizeBytes: 7,
    repository: { namespace: 'origin.lan', name: 'app' } as Repository,
    state: 'complete',
    startedAtMs: 1,
    endedAtMs: 2,
    piecesHeld: 1,
    pieceCount: 1,
    bytes: { origin: 3, peer: 4, local: 0 },
    peers: [{ peer, bytes: 4, bytesPerSecond: 0, stalls: 1, waitedMs: 5 }],
    originBytesPerSecond: 0,
    stalls: 1,
    hedges: 0,
    rejectedPieces: 0,
    mismatches: 0,
    resumptions: 0,
    waitedMs: { origin: 1 },
    phasesMs: { committed: 1 },
    ...figures,
  };
}

describe('a transfer as a line', () => {
  it('comes back as it was', () => {
    const failed = transfer('x', { state: 'failed', error: 'no', missing: 'all' });
    for (const original of [transfer('x'), failed]) expect(findTransfer(transferLine(original))).toEqual(original);
  });

  it('keeps those peers that gave most and cuts long words', () => {
    const peers = Array.from({ length: 40 }, (_, bytes) => ({
      peer,
      bytes,
      bytesPerSecond: 0,
      stalls: 0,
      waitedMs: 0,
    }));
    const read = findTransfer(transferLine(transfer('x', { peers, error: 'e'.repeat(5000) })));
    expect(read?.peers.map(({ bytes }) => bytes)).toEqual(Array.from({ length: 16 }, (_, at) => 39 - at));
    expect(read?.error).toHaveLength(500);
  });

  it('is refused when anything about it is wrong', () => {
    const good = JSON.parse(transferLine(transfer('x'))) as Record<string, unknown>;
    const wrong: Record<string, unknown>[] = [
      { version: 2 },
      { digest: 'sha256:x' },
      { digest: 7 },
      { state: 'fetching' },
      { sizeBytes: -1 },
      { sizeBytes: 1.5 },
      { endedAtMs: undefined },
      { bytes: { origin: 1, peer: 1 } },
      { bytes: [] },
      { peers: [{ peer: 'somebody', bytes: 1, stalls: 0, waitedMs: 0 }] },
      { peers: 'none' },
      { peers: Array.from({ length: 17 }, () => ({ peer, bytes: 1, stalls: 0, waitedMs: 0 })) },
      { phasesMs: { committed: 'soon' } },
      { waitedMs: null },
      { error: 7 },
      { repository: { namespace: 'x' } },
    ];
    for (const change of wrong)
      expect(findTransfer(JSON.stringify({ ...good, ...change })), JSON.stringify(change)).toBeUndefined();
  });

  it('never throws, whatever the file holds', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (line) => findTransfer(line) === undefined));
  });
});

describe('the history of transfers', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'shoal-history-'));
    path = join(directory, 'transfers.log');
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));
  const open = (options: { maxTransfers?: number; maxFileBytes?: number } = {}) =>
    openTransferHistory({ logger: silentLogger }, { path, maxTransfers: 100, maxFileBytes: 100_000, ...options });

  it('outlives the process, the latest of each blob', async () => {
    {
      await using history = await open();
      history.add(transfer('a'));
      history.add(transfer('b'));
      history.add(transfer('a', { startedAtMs: 5 }));
    }
    await using history = await open();
    expect(history.size).toBe(2);
    expect(history.find(transfer('a').digest)).toEqual(transfer('a', { startedAtMs: 5 }));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('does not forget how a blob came because it was found complete later', async () => {
    await using history = await open();
    history.add(transfer('a'));
    history.add(transfer('a', { startedAtMs: 9, bytes: { origin: 0, peer: 0, local: 7 } }));
    expect(history.find(transfer('a').digest)?.startedAtMs).toBe(1);
  });

  it('is bounded in memory and on the disk, and keeps the newest', async () => {
    {
      await using history = await open({ maxTransfers: 10, maxFileBytes: 4_000 });
      for (let at = 0; at < 100; at += 1) history.add(transfer(`blob ${at}`));
      expect(history.size).toBe(10);
    }
    {
      await using history = await open({ maxTransfers: 10, maxFileBytes: 4_000 });
      for (let at = 100; at < 130; at += 1) {
        history.add(transfer(`blob ${at}`));
        // Each line by itself, as in life.
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
    expect((await stat(path)).size).toBeLessThanOrEqual(4_000);
    await using history = await open({ maxTransfers: 10, maxFileBytes: 4_000 });
    expect(history.find(transfer('blob 129').digest)).toBeDefined();
    expect(history.find(transfer('blob 100').digest)).toBeUndefined();
  });

  it('leaves out what is damaged, and goes on behind a line that a crash cut', async () => {
    {
      await using history = await open();
      history.add(transfer('a'));
    }
    const cut = (await readFile(path, 'utf8')).slice(0, 100);
    await appendFile(path, `garbage\n\0\0\n${cut}`);
    {
      await using history = await open();
      expect(history.size).toBe(1);
      history.add(transfer('b'));
    }
    await using history = await open();
    expect(history.size).toBe(2);
    expect((await readFile(path, 'utf8')).split('\n')).toHaveLength(3);
  });

  it('is kept for this life when the disk refuses it', async () => {
    await rm(path, { force: true });
    await chmod(directory, 0o700);
    await writeFile(join(directory, 'file'), '');
    path = join(directory, 'file', 'transfers.log');
    await using history = await open();
    history.add(transfer('a'));
    expect(history.find(transfer('a').digest)).toBeDefined();
  });
});
