import { expect, it } from 'vitest';
import { describeMissing } from '../../../src/swarm/describe-missing.ts';
import { downloadOf, MiB } from './schedule-fixtures.ts';

it('names the first ranges that are missing, joined where they meet, and counts the rest', () => {
  const { pieceCount } = downloadOf(8 * MiB).plan;
  const all = Array.from({ length: pieceCount }, (_, piece) => piece);
  const lacking = (...pieces: number[]) =>
    describeMissing(downloadOf(8 * MiB, { held: all.filter((piece) => !pieces.includes(piece)) }));
  expect(lacking(pieceCount - 2, pieceCount - 1)).toBe('7.00 MiB to 8.00 MiB');
  expect(lacking(0)).toBe('0 B to 64.0 KiB');
  expect(lacking(5, 7, 9)).toBe('1.00 MiB to 1.50 MiB, 2.00 MiB to 2.50 MiB, 3.00 MiB to 3.50 MiB');
  expect(lacking(5, 7, 9, 11, 13)).toMatch(/ and 2 more$/);
  expect(describeMissing(downloadOf(8 * MiB))).toBe('0 B to 8.00 MiB');
});
