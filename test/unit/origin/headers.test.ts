import { describe, expect, it } from 'vitest';
import { readToken } from '../../../src/origin/auth/token-service.ts';
import { readContentLength, readContentRange } from '../../../src/origin/http/content-range.ts';
import { findRegistryMessage } from '../../../src/origin/http/read-body.ts';
import { readRetryAfterMs } from '../../../src/origin/http/retry-after.ts';
import { readTags } from '../../../src/origin/registry-tags.ts';

it.each<[string | undefined, number | undefined]>([
  ['0', 0],
  ['120', 120_000],
  [' 5 ', 5000],
  ['Tue, 01 Jan 2030 00:00:10 GMT', 10_000],
  ['Tuesday, 01-Jan-30 00:00:10 GMT', 10_000],
  ['Tue Jan  1 00:00:10 2030', 10_000],
  ['Mon, 31 Dec 2029 00:00:00 GMT', 0],
  ['Tue, 99 Jan 2030 00:00:10 GMT', undefined],
  ['-1', undefined],
  ['1.5', undefined],
  ['1e3', undefined],
  ['99999999999', undefined],
  ['soon', undefined],
  ['', undefined],
  [undefined, undefined],
])('reads Retry-After %j as %s ms', (header, expected) => {
  expect(readRetryAfterMs(header, Date.UTC(2030, 0, 1))).toBe(expected);
});

it.each<[string | undefined, unknown]>([
  ['bytes 0-9/100', { start: 0, end: 10, sizeBytes: 100 }],
  ['bytes 5-5/*', { start: 5, end: 6 }],
  ['Bytes 0-0/1', { start: 0, end: 1, sizeBytes: 1 }],
  ['bytes 9-0/100', undefined],
  ['bytes 0-100/100', undefined],
  ['bytes */100', undefined],
  ['bytes 0-9', undefined],
  ['lines 0-9/100', undefined],
  ['bytes 0-9999999999999999/9999999999999999', undefined],
  [undefined, undefined],
])('reads Content-Range %j', (header, expected) => {
  expect(readContentRange(header)).toEqual(expected);
});

it.each<[string | undefined, number | undefined]>([
  ['0', 0],
  ['12', 12],
  ['12, 12', undefined],
  ['-1', undefined],
  ['0x10', undefined],
  [undefined, undefined],
])('reads Content-Length %j as %s', (header, expected) => {
  expect(readContentLength(header)).toBe(expected);
});

describe('readToken', () => {
  it.each<[string, unknown]>([
    ['{"token":"t"}', { token: 't', expiresInSeconds: 60 }],
    ['{"access_token":"t","expires_in":300}', { token: 't', expiresInSeconds: 300 }],
    ['{"token":"","access_token":"t"}', { token: 't', expiresInSeconds: 60 }],
    ['{"token":"t","expires_in":-1}', { token: 't', expiresInSeconds: 60 }],
    ['{"token":"t","expires_in":1e99}', { token: 't', expiresInSeconds: 86_400 }],
    ['{"token":"a\\r\\nX: y"}', undefined],
    ['{"token":7}', undefined],
    ['null', undefined],
    ['{', undefined],
  ])('reads %s', (text, expected) => {
    expect(readToken(text)).toEqual(expected);
  });
});

it.each<[string, unknown]>([
  ['{"name":"a","tags":["x","1.0_a-b"]}', ['x', '1.0_a-b']],
  ['{"tags":null}', []],
  ['{}', []],
  ['{"tags":["ok","no/slash","",7]}', ['ok']],
  ['{"tags":"x"}', undefined],
  ['[]', []],
  ['null', undefined],
])('reads the list of tags %s', (text, expected) => {
  expect(readTags(text)).toEqual(expected);
});

it.each<[string, string | undefined]>([
  ['{"errors":[{"code":"TOOMANYREQUESTS","message":"slow\\ndown"}]}', 'TOOMANYREQUESTS: slow down'],
  ['{"errors":[]}', undefined],
  ['<html>', undefined],
])('finds what a registry says in %s', (text, expected) => {
  expect(findRegistryMessage(text)).toBe(expected);
});
