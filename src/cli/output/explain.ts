import type { Transfer } from '../../swarm/swarm.ts';
import { bytesText, percentText, shortDigest, shortPeer, spanText } from './units.ts';

/** Says of one transfer where its bytes came from, where its time went, and what went wrong on the way. */
export function explainTransfer(transfer: Transfer): string {
  const { bytes, sizeBytes } = transfer;
  const sources = [
    `origin ${bytesText(bytes.origin)} (${percentText(bytes.origin, sizeBytes)})`,
    ...transfer.peers
      .toSorted((left, right) => right.bytes - left.bytes)
      .map((source) => `${shortPeer(source.peer)} ${bytesText(source.bytes)}`),
    ...(bytes.local > 0 ? [`local ${bytesText(bytes.local)}`] : []),
  ];
  const lines = [
    `${shortDigest(transfer.digest)}  ${bytesText(sizeBytes)}  ${transfer.state}`,
    `  bytes   ${sources.join(', ')}`,
    `  pieces  ${transfer.piecesHeld} of ${transfer.pieceCount}, stalls ${transfer.stalls}, hedges ${transfer.hedges}, rejected ${transfer.rejectedPieces}`,
  ];
  const phases = Object.entries(transfer.phasesMs).map(([phase, ms]) => `${phase} ${spanText(ms)}`);
  if (phases.length > 0) lines.push(`  time    ${phases.join(', ')}`);
  if (transfer.missing !== undefined) lines.push(`  missing ${transfer.missing}`);
  if (transfer.error !== undefined) lines.push(`  error   ${transfer.error}`);
  return lines.join('\n');
}
