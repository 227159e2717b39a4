import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  type HeadFault,
  maxRequestHeadBytes,
  type RequestHead,
  readRequestHead,
} from '../../src/peer/tls/request-head.ts';

type Verdict = RequestHead | HeadFault | undefined;

/** Gives a text to the reader as a connection does: more and more of it, until there is a result. */
function readInParts(text: string, cuts: readonly number[]): Verdict {
  const ends = [...new Set([...cuts.map((cut) => Math.min(cut, text.length)), text.length])].sort((a, b) => a - b);
  for (const end of ends) {
    const verdict = readRequestHead(text.slice(0, end));
    if (verdict !== undefined) return verdict;
  }
  return undefined;
}

const line = fc.oneof(
  { weight: 6, arbitrary: fc.stringMatching(/^[a-z-]{1,12}:[ \t]?[!-~]{0,30}$/) },
  {
    weight: 2,
    arbitrary: fc.constantFrom('Host: shoal', 'Range: bytes=0-1', 'Content-Length: 0', 'Connection: close'),
  },
  fc.constantFrom('', ' folded', 'A', 'A: \0', 'A: b\n', 'A\r: b', 'Transfer-Encoding: x', 'Content-Length: 7'),
  fc.integer({ min: 1, max: maxRequestHeadBytes }).map((length) => `A: ${'x'.repeat(length)}`),
);
const request = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('GET / HTTP/1.1', 'POST /x HTTP/1.1') },
  fc.constantFrom('GET / HTTP/1.0', 'get / HTTP/1.1', '', 'SSH-2.0', 'GET / HTTP/1.1\n'),
);
/** Heads, near heads, and what may come behind them. */
const dialogue = fc
  .tuple(request, fc.array(line, { maxLength: 8 }), fc.constantFrom('\r\n\r\n', '\r\n', '\r', ''), fc.string())
  .map(([first, lines, end, rest]) => [first, ...lines].join('\r\n') + end + rest);
const bytes = fc
  .oneof(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ minLength: 4000, maxLength: 4200 }))
  .map((array) => Buffer.from(array).toString('latin1'));
const cuts = fc.array(fc.nat(maxRequestHeadBytes + 200), { maxLength: 12 });

it('says something of any bytes, and throws for none', () => {
  fc.assert(
    fc.property(fc.oneof(bytes, dialogue), (text) => {
      const verdict = readRequestHead(text);
      if (verdict === undefined) expect(text.length).toBeLessThan(maxRequestHeadBytes);
      else if (typeof verdict !== 'string') {
        expect(verdict.length).toBeLessThanOrEqual(Math.min(text.length, maxRequestHeadBytes));
        expect(text.slice(0, verdict.length)).toMatch(/^[A-Z]+ [!-~]+ HTTP\/1\.1\r\n[\t\r\n -~]*\r\n\r\n$/);
      }
    }),
  );
});

it('says the same however the bytes are split', () => {
  fc.assert(
    fc.property(fc.oneof(dialogue, bytes), cuts, (text, at) => {
      expect(readInParts(text, at)).toEqual(readRequestHead(text));
    }),
    { numRuns: 1000 },
  );
});

it('says the same of a head that comes byte by byte', () => {
  fc.assert(
    fc.property(dialogue, (text) => {
      const start = text.slice(0, 300);
      const everywhere = Array.from({ length: start.length }, (_, at) => at);
      expect(readInParts(start, everywhere)).toEqual(readRequestHead(start));
    }),
  );
});

it('reads what is well formed', () => {
  const name = fc.stringMatching(/^x-[a-z]{1,12}$/);
  const value = fc.stringMatching(/^[!-~]{0,40}$/);
  const range = fc.option(value, { nil: undefined });
  fc.assert(
    fc.property(fc.stringMatching(/^\/[!-~]{0,80}$/), fc.dictionary(name, value), range, (target, headers, wanted) => {
      const lines = Object.entries(headers).map(([key, text]) => `${key}: ${text}\r\n`);
      if (wanted !== undefined) lines.splice(lines.length >> 1, 0, `Range: ${wanted}\r\n`);
      const text = `GET ${target} HTTP/1.1\r\nHost: shoal\r\n${lines.join('')}\r\n`;
      const expected = { method: 'GET', target, range: wanted, hasBody: false, isLast: false, length: text.length };
      expect(readRequestHead(text)).toEqual(expected);
    }),
  );
});
