import { expect, it } from 'vitest';
import { readProxyEnvironment } from '../../../src/origin/create-origin.ts';
import { findPermission, matchesPattern, originUrl } from '../../../src/origin/namespaces.ts';
import { originOptions } from '../../support/origin-options.ts';

it.each<[string, string, boolean]>([
  ['ghcr.io', 'ghcr.io', true],
  ['ghcr.io', 'GHCR.io', true],
  ['ghcr.io', 'hcr.io', false],
  ['a.corp.lan', '*.corp.lan', true],
  ['corp.lan', '*.corp.lan', false],
  ['a.corp.lan:5000', '*.corp.lan', false],
  ['a.corp.lan:5000', '*.corp.lan:*', true],
  ['10.1.2.3:5000', '10.*:5000', true],
  ['aa', 'a*a', true],
  ['a', 'a*a', false],
  ['abcabc', 'a*c*bc', true],
  ['abc', 'a*c*bc', false],
])('%s fits %s: %s', (namespace, pattern, expected) => {
  expect(matchesPattern(namespace, pattern)).toBe(expected);
});

it.each<[string, 'configured' | 'any' | string[], string]>([
  ['known.test', 'configured', 'named'],
  ['quay.io', 'configured', 'refused'],
  ['quay.io', 'any', 'public-only'],
  ['quay.io', ['*'], 'public-only'],
  ['quay.io', ['*', 'quay.io'], 'named'],
  ['10.0.0.1', 'any', 'refused'],
  ['10.0.0.1', ['10.0.0.1'], 'named'],
  ['10.0.0.1', ['*'], 'refused'],
  ['1.1.1.1:5000', 'any', 'public-only'],
  ['a.localhost', 'any', 'refused'],
  ['2130706433', 'any', 'refused'],
  ['Quay.io', 'any', 'refused'],
])('%s with %j is %s', (namespace, allow, expected) => {
  expect(findPermission(namespace, originOptions({ 'known.test': {} }, { allow }))).toBe(expected);
});

it.each([
  ['docker.io', {}, 'https://registry-1.docker.io'],
  ['docker.io', { url: 'http://127.0.0.1:5000/' }, 'http://127.0.0.1:5000'],
  ['quay.io', {}, 'https://quay.io'],
  ['127.0.0.1:5000', {}, 'http://127.0.0.1:5000'],
  ['localhost', {}, 'http://localhost'],
  ['10.0.0.1', {}, 'https://10.0.0.1'],
])('%s %j answers at %s', (namespace, entry, expected) => {
  expect(originUrl(namespace, entry)).toBe(expected);
});

it('reads the proxy variables, lower case first', () => {
  expect(readProxyEnvironment({ HTTP_PROXY: 'a', http_proxy: 'b', HTTPS_PROXY: 'c' })).toEqual({
    httpProxy: 'b',
    httpsProxy: 'c',
    noProxy: '',
  });
});
