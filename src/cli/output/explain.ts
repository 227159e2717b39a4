import type { ExplainAnswer } from '../../admin/api.ts';
import { waitTexts } from '../../admin/explain.ts';
import { bytesText, percentText, spanText } from '../../lib/units.ts';
import type { Transfer } from '../../swarm/swarm.ts';
import { shortDigest, shortPeer } from './units.ts';

/**
 * Says why the latest pull of an image took as long as it did: first the whole, then blob by blob. `namedAfterMs` is how long tag and manifests took,
 * where that was seen.
 */
export function formatExplanation(answer: ExplainAnswer, nowMs: number, namedAfterMs = 0): string {
  const { explanation, blobs, heldBefore } = answer;
  const lines: string[] = [];
  if (blobs.length === 0) {
    const why = heldBefore.length > 0 ? 'it held them all' : 'its manifests are not here, so that none was known';
    lines.push(`No blob of it was fetched as far as this node remembers; ${why}.`);
  }
  if (blobs.length > 0) {
    const startedAtMs = Math.min(...blobs.map(({ transfer }) => transfer.startedAtMs));
    const { origin, peer } = explanation.bytes;
    lines.push(
      `${blobs.length} blobs, ${bytesText(origin + peer)}, fetched in ${spanText(explanation.durationMs)}, ${spanText(nowMs - startedAtMs)} ago` +
        (heldBefore.length > 0 ? `; ${heldBefore.length} were here before` : ''),
      ...explanation.sentences,
    );
  }
  if (namedAfterMs >= noticedMs)
    lines.push(`Before the first blob ${spanText(namedAfterMs)} went by: that is what tag and manifests took.`);
  const longestFirst = blobs.toSorted((left, right) => right.explanation.durationMs - left.explanation.durationMs);
  for (const { transfer, explanation: why } of longestFirst)
    lines.push('', ...transferLines(transfer), `  why     ${why.sentences[0] ?? ''}`);
  return lines.join('\n');
}

// A person notices no less.
const noticedMs = 100;

function transferLines(transfer: Transfer): string[] {
  const { bytes, sizeBytes } = transfer;
  const sources = [
    `origin ${bytesText(bytes.origin)} (${percentText(bytes.origin, sizeBytes)})`,
    ...transfer.peers
      .filter((source) => source.bytes > 0)
      .sort((left, right) => right.bytes - left.bytes)
      .map((source) => `${shortPeer(source.peer)} ${bytesText(source.bytes)}`),
    ...(bytes.local > 0 ? [`local ${bytesText(bytes.local)}`] : []),
  ];
  const faults = [
    ...transfer.peers.flatMap(({ peer, stalls }) =>
      stalls > 0 ? [`${shortPeer(peer)} stood still ${stalls} times`] : [],
    ),
    ...(transfer.hedges > 0 ? [`${transfer.hedges} hedges`] : []),
    ...(transfer.resumptions > 0 ? [`taken up again ${transfer.resumptions} times`] : []),
    ...(transfer.rejectedPieces > 0 ? [`${transfer.rejectedPieces} pieces rejected`] : []),
    ...(transfer.mismatches > 0 ? [`digest wrong ${transfer.mismatches} times`] : []),
  ];
  const waits = Object.entries(transfer.waitedMs)
    .filter(([, ms]) => ms > 0)
    .sort(([, left], [, right]) => right - left)
    .map(([kind, ms]) => `${waitTexts[kind as keyof typeof waitTexts]} ${spanText(ms)}`);
  const lines = [
    `${shortDigest(transfer.digest)}  ${bytesText(sizeBytes)}  ${transfer.state}  ${transfer.piecesHeld} of ${transfer.pieceCount} pieces`,
    `  bytes   ${sources.join(', ')}`,
  ];
  const phases = Object.entries(transfer.phasesMs).map(([phase, ms]) => `${phase} ${spanText(ms)}`);
  if (phases.length > 0) lines.push(`  reached ${phases.join(', ')}`);
  if (waits.length > 0) lines.push(`  waited  ${waits.join(', ')}`);
  if (faults.length > 0) lines.push(`  faults  ${faults.join(', ')}`);
  if (transfer.missing !== undefined) lines.push(`  missing ${transfer.missing}`);
  if (transfer.error !== undefined) lines.push(`  error   ${transfer.error}`);
  return lines;
}
