import { describe, expect, it } from 'vitest';
import { maxRequestHeadBytes, readRequestHead } from '../../../src/peer/tls/request-head.ts';

const head = (...lines: string[]) =>
  `GET /v1 HTTP/1.1\r\nHost: shoal\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;
/** A head of exactly so many bytes. */
const headOf = (bytes: number) => head(`A: ${'x'.repeat(bytes - head('A: ').length)}`);

describe('request head', () => {
  it('is read with what means something, and what follows is left', () => {
    const text = head('RANGE:\tbytes=0-9 ', 'Accept: */*', 'accept: x', 'Content-Length: 0', 'Connection: keep-alive');
    expect(readRequestHead(`${text}GET`)).toEqual({
      method: 'GET',
      target: '/v1',
      range: 'bytes=0-9',
      hasBody: false,
      isLast: false,
      length: text.length,
    });
    expect(readRequestHead(head())).toMatchObject({ range: undefined });
    expect(readRequestHead('OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n')).toMatchObject({ method: 'OPTIONS', target: '*' });
  });

  it('says whether a body follows, and whether the peer wants no more', () => {
    expect(readRequestHead(head('Content-Length: 1'))).toMatchObject({ hasBody: true });
    expect(readRequestHead(head('Transfer-Encoding: chunked'))).toMatchObject({ hasBody: true });
    expect(readRequestHead(head('Transfer-Encoding: identity', 'Content-Length: 0'))).toMatchObject({ hasBody: true });
    expect(readRequestHead(head('Connection: TE , Close'))).toMatchObject({ isLast: true });
    expect(readRequestHead(head('Connection: te', 'Connection: close', 'Connection: te'))).toMatchObject({
      isLast: true,
    });
    expect(readRequestHead(head('Connection: closed'))).toMatchObject({ isLast: false });
  });

  it.each([
    ['an empty line in front', `\r\n${head()}`],
    ['no version', 'GET /v1\r\nHost: x\r\n\r\n'],
    ['HTTP/1.0', 'GET /v1 HTTP/1.0\r\nHost: x\r\n\r\n'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['two spaces', 'GET  /v1 HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a space in the target', 'GET /v 1 HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a method in small letters', 'get /v1 HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['an endless method', `${'G'.repeat(17)} /v1 HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['no host', 'GET /v1 HTTP/1.1\r\n\r\n'],
    ['two hosts', head('Host: y')],
    ['two ranges', head('Range: bytes=0-1', 'Range: bytes=0-1')],
    ['two lengths', head('Content-Length: 0', 'Content-Length: 0')],
    ['a length that is none', head('Content-Length: +0')],
    ['an endless length', head(`Content-Length: ${'0'.repeat(16)}`)],
    ['a header without a colon', head('Accept')],
    ['a header without a name', head(': x')],
    ['a space before the colon', head('Range : bytes=0-1')],
    ['a folded line', head('Accept: a', ' b')],
    ['a bare line feed', head('A: b\nRange: bytes=0-1')],
    ['a bare carriage return', head('A: b\rRange: bytes=0-1')],
    ['a NUL', head('A: \0')],
    ['bytes above ASCII', head('A: \xe4')],
    ['a line feed for an end', 'GET /v1 HTTP/1.1\nHost: x\n\n'],
  ])('is broken: %s', (_case, text) => {
    expect(readRequestHead(text)).toBe('broken');
  });

  it.each([
    ['the first byte of a handshake', '\x16'],
    ['a wrong line, before the head is complete', 'SSH-2.0-OpenSSH\r\n'],
    ['a wrong header, before the head is complete', 'GET /v1 HTTP/1.1\r\nHost: x\r\nA\r\n'],
    ['a line feed, before the head is complete', 'GET /v1 HTTP/1.1\n'],
  ])('is broken as soon as it is known: %s', (_case, text) => {
    expect(readRequestHead(text)).toBe('broken');
  });

  it('is awaited until its blank line, and not beyond the limit', () => {
    const text = head('Range: bytes=0-1');
    for (let length = 0; length < text.length; length += 1)
      expect(readRequestHead(text.slice(0, length))).toBeUndefined();
    expect(readRequestHead(headOf(maxRequestHeadBytes))).toMatchObject({ length: maxRequestHeadBytes });
    expect(readRequestHead(headOf(maxRequestHeadBytes).slice(0, -1))).toBeUndefined();
    expect(readRequestHead(headOf(maxRequestHeadBytes + 1))).toBe('tooLong');
    expect(readRequestHead(headOf(maxRequestHeadBytes + 1).slice(0, maxRequestHeadBytes - 1))).toBeUndefined();
    expect(readRequestHead(headOf(maxRequestHeadBytes + 1).slice(0, maxRequestHeadBytes))).toBe('tooLong');
    expect(readRequestHead('G'.repeat(1_000_000))).toBe('tooLong');
  });
});
