import { describe, expect, it } from 'vitest';
import { ImageError } from '../../../src/image/errors.ts';
import { encodeErrorBody, findErrorAnswer } from '../../../src/registry/error-body.ts';
import { matchesEtag } from '../../../src/registry/exchange.ts';

describe('findErrorAnswer', () => {
  it('says when to come back, in whole seconds, and never 429', () => {
    const error = new ImageError('IMAGE_UNAVAILABLE', 'x', { details: { retryAfterMs: 1200, repository: 'a' } });
    expect(findErrorAnswer(error)).toMatchObject({
      status: 503,
      code: 'UNAVAILABLE',
      headers: { 'retry-after': '2' },
      detail: { repository: 'a' },
    });
  });

  it('leaves bugs alone', () => {
    expect(findErrorAnswer(new Error('boom'))).toBeUndefined();
    expect(findErrorAnswer('boom')).toBeUndefined();
  });

  it('writes the body of the specification', () => {
    const body = encodeErrorBody({ status: 404, code: 'BLOB_UNKNOWN', message: 'blob unknown', detail: { a: 1 } });
    expect(JSON.parse(String(body))).toEqual({
      errors: [{ code: 'BLOB_UNKNOWN', message: 'blob unknown', detail: { a: 1 } }],
    });
  });
});

describe('matchesEtag', () => {
  for (const [header, matches] of [
    [undefined, false],
    ['"a"', true],
    ['W/"a"', true],
    ['"b", "a"', true],
    ['*', true],
    ['a', false],
    ['"b"', false],
    ['', false],
  ] as const) {
    it(`${header ?? 'no header'}: ${matches}`, () => expect(matchesEtag(header, '"a"')).toBe(matches));
  }
});
