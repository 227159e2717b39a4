import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { Progress, type ProgressRow } from '../../../src/cli/output/progress.ts';
import { formatTable } from '../../../src/cli/output/table.ts';
import { shortDigest, shortPeer } from '../../../src/cli/output/units.ts';
import { bytesText, percentText, spanText } from '../../../src/lib/units.ts';

test('a table aligns its columns, whatever colours are in them', () => {
  const text = formatTable(
    [{ title: 'NAME' }, { title: 'BYTES', align: 'right' }, { title: 'NOTE' }],
    [
      ['\x1b[31ma\x1b[0m', '1', 'x'],
      ['longer', '1000000', ''],
    ],
  );
  expect(stripVTControlCharacters(text).split('\n')).toEqual([
    'NAME      BYTES  NOTE',
    'a             1  x',
    'longer  1000000',
  ]);
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.50 KiB'],
  [20 * 2 ** 20, '20.0 MiB'],
  [1_000_000_000, '954 MiB'],
  [2 ** 50, '1.00 PiB'],
])('%d bytes are written %s', (bytes, text) => {
  expect(bytesText(bytes)).toBe(text);
});

test.each([
  [420, '0.42 s'],
  [12_340, '12.3 s'],
  [245_000, '4m 05s'],
  [11_520_000, '3h 12m'],
  [439_200_000, '5d 2h'],
])('%d ms are written %s', (ms, text) => {
  expect(spanText(ms)).toBe(text);
});

test('digests and peers are shortened to what tells them apart', () => {
  expect(shortDigest(`sha256:${'ab'.repeat(32)}`)).toBe('abababababab');
  expect(shortPeer('12D3KooWAbcdefghijklmnop')).toBe('…ijklmnop');
  expect([percentText(1, 3), percentText(3, 3), percentText(0, 0)]).toEqual(['33.3%', '100%', '-']);
});

describe('progress', () => {
  const row = (label: string, received: number, state: ProgressRow['state'] = 'fetching'): ProgressRow => ({
    label,
    totalBytes: 100,
    bytes: { origin: 0, peer: received, local: 0 },
    state,
  });
  const screen = (isTty: boolean, rows = 24) => {
    const written: string[] = [];
    let now = 0;
    const progress = new Progress({
      stream: { write: (text) => written.push(text), columns: 60, rows },
      isTty,
      nowMs: () => now,
    });
    return { written, progress, advance: (ms: number) => (now += ms) };
  };

  test('off a terminal is one line per row that ended, without control characters', () => {
    const { written, progress } = screen(false);
    progress.update([row('a', 10), row('b', 100, 'complete')]);
    progress.update([row('a', 100, 'complete'), row('b', 100, 'complete')]);
    progress.finish();
    expect(written).toEqual(['b  complete  100 B  peers 100 B\n', 'a  complete  100 B  peers 100 B\n']);
  });

  test('on a terminal redraws in place and never wraps a line', () => {
    const { written, progress, advance } = screen(true);
    progress.update([row('a', 10), row('b', 20)]);
    advance(1000);
    progress.update([row('a', 50), row('b', 100, 'complete')]);
    expect(written[1]?.startsWith('\x1b[2A')).toBe(true);
    for (const line of stripVTControlCharacters(written.join('')).split('\n')) expect(line.length).toBeLessThan(60);
  });

  test('keeps what moves when the screen is too small', () => {
    const { written, progress } = screen(true, 6);
    progress.update([...Array.from({ length: 20 }, (_, at) => row(`done-${at}`, 100, 'complete')), row('moving', 5)]);
    const text = stripVTControlCharacters(written.join(''));
    expect(text).toContain('moving');
    expect(text).toContain('more');
    expect(text.trimEnd().split('\n').length).toBeLessThanOrEqual(5);
  });
});
