import { describe, expect, it } from 'vitest';
import { readHelperAnswer } from '../../../src/origin/auth/credential-helper.ts';
import { findStoredCredentials, readDockerConfig } from '../../../src/origin/auth/docker-config.ts';

const encode = (text: string) => Buffer.from(text).toString('base64');
const find = (config: unknown, namespace: string) => {
  const read = readDockerConfig(JSON.stringify(config));
  return read === undefined ? undefined : findStoredCredentials(read, namespace);
};

describe('docker config', () => {
  const auth = encode('fish:a:b');
  const basic = { kind: 'basic', username: 'fish', password: 'a:b' };
  it.each<[string, unknown, string, unknown]>([
    ['an entry by host', { auths: { 'ghcr.io': { auth } } }, 'ghcr.io', basic],
    ['an entry by URL', { auths: { 'https://ghcr.io': { auth } } }, 'ghcr.io', basic],
    ['an entry by old URL', { auths: { 'https://ghcr.io/v1/': { auth } } }, 'ghcr.io', basic],
    ['an entry with a port', { auths: { 'registry.lan:5000': { auth } } }, 'registry.lan:5000', basic],
    ['no entry for another port', { auths: { 'registry.lan:5000': { auth } } }, 'registry.lan', undefined],
    ['the entry of Docker Hub', { auths: { 'https://index.docker.io/v1/': { auth } } }, 'docker.io', basic],
    ['plain user and password', { auths: { a: { username: 'fish', password: 'a:b' } } }, 'a', basic],
    ['an identity token', { auths: { a: { auth, identitytoken: 't' } } }, 'a', { kind: 'identity', token: 't' }],
    ['a registry token', { auths: { a: { registrytoken: 't' } } }, 'a', { kind: 'bearer', token: 't' }],
    ['nothing in an empty entry', { auths: { a: {} } }, 'a', undefined],
    ['nothing in a broken entry', { auths: { a: { auth: '%%%' }, b: 7 } }, 'a', undefined],
    ['nothing in an entry without colon', { auths: { a: { auth: encode('fish') } } }, 'a', undefined],
    [
      'an own helper',
      { credHelpers: { a: 'ecr' }, auths: { a: { auth } } },
      'a',
      { kind: 'helper', helper: 'ecr', server: 'a' },
    ],
    ['the store', { credsStore: 'pass' }, 'a', { kind: 'helper', helper: 'pass', server: 'a' }],
    [
      'the store under the name it lists',
      { credsStore: 'pass', auths: { 'https://a/': {} } },
      'a',
      { kind: 'helper', helper: 'pass', server: 'https://a/' },
    ],
    [
      'the store under the name of Docker Hub',
      { credsStore: 'pass' },
      'docker.io',
      { kind: 'helper', helper: 'pass', server: 'https://index.docker.io/v1/' },
    ],
    ['the file before the store', { credsStore: 'pass', auths: { a: { auth } } }, 'a', basic],
    ['nothing in lists', { auths: [], credHelpers: 'x', credsStore: 7 }, 'a', undefined],
  ])('finds %s', (_what, config, namespace, expected) => {
    expect(find(config, namespace)).toEqual(expected);
  });

  it.each(['', '[]', 'null', '7', '{'])('reads nothing from %j', (text) => {
    expect(readDockerConfig(text)).toBeUndefined();
  });
});

it.each<[string, unknown]>([
  ['{"ServerURL":"a","Username":"u","Secret":"s"}', { kind: 'basic', username: 'u', password: 's' }],
  ['{"Username":"<token>","Secret":"s"}', { kind: 'identity', token: 's' }],
  ['{"Username":"u","Secret":""}', undefined],
  ['{"Username":"u"}', undefined],
  ['null', undefined],
  ['oops', undefined],
])('reads the answer %s of a credential helper', (output, expected) => {
  expect(readHelperAnswer(output)).toEqual(expected);
});
