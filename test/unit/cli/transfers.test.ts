import { describe, expect, test } from 'vitest';
import { explainTransfers } from '../../../src/admin/explain.ts';
import { formatExplanation } from '../../../src/cli/output/explain.ts';
import { fitScreen } from '../../../src/cli/output/status.ts';
import { formatEnded, formatRunning, runningSummary, transferLine } from '../../../src/cli/output/transfers.ts';
import type { PeerId } from '../../../src/content/peer-id.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import type { Repository } from '../../../src/oci/repository.ts';
import type { Transfer } from '../../../src/swarm/swarm.ts';

const MiB = 2 ** 20;
const ada = '12D3KooWAP1psU5fpFDY74MUs7YYUiDqHCHk9f627rRb4fEGNo78' as PeerId;

const running: Transfer = {
  digest: `sha256:${'ab'.repeat(32)}` as Digest,
  sizeBytes: 100 * MiB,
  repository: { namespace: 'origin.lan', name: 'app' } as Repository,
  state: 'fetching',
  startedAtMs: 1_000,
  piecesHeld: 40,
  pieceCount: 105,
  bytes: { origin: 10 * MiB, peer: 30 * MiB, local: 0 },
  peers: [
    { peer: ada, bytes: 30 * MiB, bytesPerSecond: 6 * MiB, stalls: 1, waitedMs: 700 },
    { peer: 'another-12345678' as PeerId, bytes: 0, bytesPerSecond: 0, stalls: 0, waitedMs: 0 },
  ],
  originBytesPerSecond: 2 * MiB,
  stalls: 1,
  hedges: 2,
  rejectedPieces: 0,
  mismatches: 0,
  resumptions: 0,
  waitsFor: { for: 'silentPeer', peer: ada },
  waitedMs: { origin: 3_000, silentPeer: 700 },
  phasesMs: { providers: 20, firstPiece: 90 },
};
const { waitsFor: _, ...rest } = running;
const ended: Transfer = { ...rest, state: 'complete', endedAtMs: 6_000, piecesHeld: 105, originBytesPerSecond: 0 };

test('a running transfer shows pieces, sources with their rates, the share of the origin and what is waited for', () => {
  expect(formatRunning([running], false).split('\n')[1]).toBe(
    'abababababab  origin.lan/app  40/105  40.0%  100 MiB  8.00 MiB/s   25.0%  silent peer …4fEGNo78  …4fEGNo78 6.00 MiB/s, origin 2.00 MiB/s',
  );
  expect(runningSummary([running, running])).toBe(
    '2 running  80.0 MiB of 200 MiB (40.0%)  16.0 MiB/s: origin 4.00 MiB/s, peers 12.0 MiB/s  origin share 25.0%',
  );
  expect(transferLine(running, 5_000)).toBe(
    'abababababab  origin.lan/app  fetching  40/105 pieces  8.00 MiB/s (…4fEGNo78 6.00 MiB/s, origin 2.00 MiB/s)  origin share 25.0%  waits for silent peer …4fEGNo78',
  );
});

test('one that has ended shows what bound it', () => {
  expect(formatEnded([ended], 9_000, false).split('\n')[1]).toMatch(/ complete {2}105\/105 .* 5\.00 s {2}origin$/);
  expect(transferLine(ended, 9_000)).toBe(
    'abababababab  origin.lan/app  complete  105/105 pieces  100 MiB in 5.00 s  origin share 25.0%  bound by origin',
  );
});

describe('a screen', () => {
  test('is never wider or higher than the terminal', () => {
    const text = Array.from({ length: 50 }, (_, at) => `${at} ${'x'.repeat(200)}`).join('\n');
    const lines = fitScreen(text, { columns: 40, rows: 20 }).split('\n');
    expect(lines).toHaveLength(19);
    expect(lines.at(-1)).toBe('… and 32 more lines');
    for (const line of lines.slice(0, -1)) expect(line.replace('\x1b[0m', '')).toHaveLength(40);
    expect(fitScreen('a\nb', { columns: 40, rows: 20 })).toBe('a\nb');
  });
});

test('an explanation names the pull, the reason, and each blob with its figures', () => {
  const explanation = explainTransfers([ended], 9_000);
  const text = formatExplanation(
    { digest: ended.digest, explanation, blobs: [{ transfer: ended, explanation }], heldBefore: [] },
    9_000,
  );
  expect(text).toContain('1 blobs, 40.0 MiB, fetched in 5.00 s, 8.00 s ago');
  expect(text).toContain("The origin's rate was the bound");
  expect(text).toContain('  bytes   origin 10.0 MiB (10.0%), …4fEGNo78 30.0 MiB');
  expect(text).toContain('  waited  origin 3.00 s, silent peer 0.70 s');
  expect(text).toContain('  faults  …4fEGNo78 stood still 1 times, 2 hedges');
  expect(text).not.toContain('tag and manifests');
  const answer = { digest: ended.digest, explanation, blobs: [{ transfer: ended, explanation }], heldBefore: [] };
  expect(formatExplanation(answer, 9_000, 8_530)).toContain('Before the first blob 8.53 s went by');
  const none = { digest: ended.digest, explanation: explainTransfers([], 1), blobs: [], heldBefore: [] };
  expect(formatExplanation(none, 1)).toContain('its manifests are not here');
  expect(
    formatExplanation({ ...none, heldBefore: [{ digest: ended.digest, sizeBytes: ended.sizeBytes }] }, 1),
  ).toContain('held them all');
});
