import { describe, expect, it } from 'vitest';
import { decideRange, type RangeAnswer } from '../../../src/registry/byte-range.ts';

const whole: RangeAnswer = { kind: 'whole' };
const unsatisfiable: RangeAnswer = { kind: 'unsatisfiable' };
const single = (start: number, end: number): RangeAnswer => ({ kind: 'single', span: { start, end } });
const multiple = (...spans: [number, number][]): RangeAnswer => ({
  kind: 'multiple',
  spans: spans.map(([start, end]) => ({ start, end })),
});

describe('decideRange of a blob of 2048 bytes', () => {
  for (const [header, answer] of [
    [undefined, whole],
    ['bytes=10-19', single(10, 20)],
    ['bytes=0-0', single(0, 1)],
    ['bytes=500-1499', single(500, 1500)],
    ['bytes=500-', single(500, 2048)],
    ['bytes=0-', single(0, 2048)],
    ['bytes=-500', single(1548, 2048)],
    ['bytes=-5000', single(0, 2048)],
    ['bytes=2000-5000', single(2000, 2048)],
    ['BYTES=1-2', single(1, 3)],
    ['  bytes=1-2  ', single(1, 3)],
    ['bytes=1-2,', single(1, 3)],
    ['bytes=500-0', unsatisfiable],
    ['bytes=5000-10000', unsatisfiable],
    ['bytes=2048-', unsatisfiable],
    ['bytes=9999999999999999999-', unsatisfiable],
    ['bytes=-0', unsatisfiable],
    ['bytes=-', unsatisfiable],
    ['bytes=', unsatisfiable],
    ['bytes=abc', unsatisfiable],
    ['bytes=1-2-3', unsatisfiable],
    ['bytes=+1-2', unsatisfiable],
    ['bytes=1.5-2', unsatisfiable],
    ['bytes=0x1-2', unsatisfiable],
    ['bytes=1 - 2', unsatisfiable],
    ['items=0-1', whole],
    ['0-1', whole],
    ['bytes=0-9,20-29', multiple([0, 10], [20, 30])],
    ['bytes=0-9, -10', multiple([0, 10], [2038, 2048])],
    ['bytes=0-9,5000-6000', single(0, 10)],
    ['bytes=5000-6000,7000-8000', unsatisfiable],
    ['bytes=0-9,9-0', unsatisfiable],
    ['bytes=0-,0-', whole],
    ['bytes=0-2047,0-0', whole],
    ['bytes=0-0,1-1,2-2,3-3,4-4', { kind: 'excessive' }],
  ] as const) {
    it(`${header ?? 'without a header'} is ${answer.kind}`, () => {
      expect(decideRange(header, 2048, 4)).toEqual(answer);
    });
  }

  it('ignores any range of an empty blob', () => {
    for (const header of ['bytes=0-', 'bytes=-5', 'bytes=7-9', 'bytes=x']) {
      expect(decideRange(header, 0, 4)).toEqual(whole);
    }
  });
});
