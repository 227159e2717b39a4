import { pieceRange } from '../content/piece-plan.ts';
import { bytesText } from '../lib/units.ts';
import type { DownloadState } from './schedule/state.ts';

/** Says which parts of a blob this node lacks, the first few of them: what an operator compares with what other nodes hold. */
export function describeMissing({ plan, held }: DownloadState): string {
  const ranges: { start: number; end: number }[] = [];
  for (let piece = 0; piece < plan.pieceCount; piece += 1) {
    if (held.has(piece)) continue;
    const { start, end } = pieceRange(plan, piece);
    const last = ranges.at(-1);
    if (last?.end === start) last.end = end;
    else ranges.push({ start, end });
  }
  const named = ranges.slice(0, maxNamed).map(({ start, end }) => `${bytesText(start)} to ${bytesText(end)}`);
  const left = ranges.length - named.length;
  return `${named.join(', ')}${left > 0 ? ` and ${left} more` : ''}`;
}

const maxNamed = 3;
