import { describe, expect, it } from 'vitest';
import { WireReader, WireWriter } from '../../../src/lib/wire.ts';

const invalid = expect.objectContaining({ code: 'WIRE_INVALID' });

describe('wire', () => {
  it('writes and reads every kind of field', () => {
    const bytes = new WireWriter()
      .number(0)
      .number(127)
      .number(128)
      .number(Number.MAX_SAFE_INTEGER)
      .fixed(Uint8Array.of(1, 2))
      .bytes(new Uint8Array(1000).fill(9))
      .text('\ufeffgrün')
      .finish();
    const reader = new WireReader(bytes);
    expect([0, 127, 128, 9].map((max, at) => reader.number(at < 3 ? max : Number.MAX_SAFE_INTEGER))).toEqual([
      0,
      127,
      128,
      Number.MAX_SAFE_INTEGER,
    ]);
    expect(reader.isAtEnd).toBe(false);
    expect([...reader.fixed(2)]).toEqual([1, 2]);
    expect(reader.bytes(1000)).toHaveLength(1000);
    expect(reader.text(20)).toBe('\ufeffgrün');
    expect(reader.isAtEnd).toBe(true);
    reader.end();
  });

  it.each<[string, number[], (reader: WireReader) => unknown]>([
    ['a number cut off', [0x80], (reader) => reader.number(1000)],
    ['a number over its bound', [0x05], (reader) => reader.number(4)],
    ['a number of more than 8 bytes', Array(9).fill(0x80), (reader) => reader.number(Number.MAX_SAFE_INTEGER)],
    ['a number over 2^53', Array(7).fill(0xff).concat(0x7f), (reader) => reader.number(Number.MAX_SAFE_INTEGER)],
    ['a field cut off', [0x02, 1], (reader) => reader.bytes(10)],
    ['a field over its bound', [0x02, 1, 1], (reader) => reader.bytes(1)],
    ['text that is not UTF-8', [0x01, 0xff], (reader) => reader.text(10)],
    ['text cut off', [0x05, 0x41], (reader) => reader.text(10)],
    ['bytes after the end', [0x01], (reader) => reader.end()],
  ])('refuses %s', (_, bytes, read) => {
    expect(() => read(new WireReader(Uint8Array.from(bytes)))).toThrow(invalid);
  });
});
