import { describe, expect, test } from 'vitest';
import {
  durationText,
  findDurationMs,
  findListenAddress,
  findSizeBytes,
  listenAddressText,
  sizeText,
} from '../../../src/config/values.ts';

test.each([
  ['0', 0],
  ['512', 512],
  ['10GiB', 10 * 2 ** 30],
  ['10 gib', 10 * 2 ** 30],
  ['1.5MB', 1_500_000],
  ['20MiB', 20 * 2 ** 20],
  [1024, 1024],
  ['-1', undefined],
  ['10 potatoes', undefined],
  ['', undefined],
  [1.5, undefined],
  ['999999999999999TiB', undefined],
])('size %j is %j bytes', (text, bytes) => {
  expect(findSizeBytes(text)).toBe(bytes);
});

test.each([
  ['500ms', 500],
  ['30s', 30_000],
  ['1h30m', 5_400_000],
  ['1.5s', 1500],
  ['7d', 604_800_000],
  ['0', 0],
  ['30', undefined],
  ['s', undefined],
  ['5 minutes', undefined],
])('time %j is %j ms', (text, ms) => {
  expect(findDurationMs(text)).toBe(ms);
});

test.each([
  ['127.0.0.1:5000', { host: '127.0.0.1', port: 5000 }],
  ['[::1]:5000', { host: '::1', port: 5000 }],
  [':5000', { host: '0.0.0.0', port: 5000 }],
  [5000, { host: '0.0.0.0', port: 5000 }],
  ['localhost:0', { host: 'localhost', port: 0 }],
  ['::1:5000', undefined],
  ['host:70000', undefined],
  ['host', undefined],
])('address %j is %j', (text, address) => {
  expect(findListenAddress(text)).toEqual(address);
});

describe('what is written can be read back', () => {
  test.each([0, 1, 1023, 1024, 1536, 10 * 2 ** 30])('size %d', (bytes) => {
    expect(findSizeBytes(sizeText(bytes))).toBe(bytes);
  });
  test.each([1, 999, 1000, 90_000, 3_600_000, 86_400_000])('time %d', (ms) => {
    expect(findDurationMs(durationText(ms))).toBe(ms);
  });
  test.each(['127.0.0.1:1', '[::1]:2'])('address %s', (text) => {
    const address = findListenAddress(text);
    expect(address === undefined ? '' : listenAddressText(address)).toBe(text);
  });
});
