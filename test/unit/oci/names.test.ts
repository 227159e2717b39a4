import { describe, expect, it } from 'vitest';
import {
  createDigestHash,
  digestAlgorithm,
  digestHex,
  digestOf,
  findDigest,
  parseDigest,
} from '../../../src/oci/digest.ts';
import { findNamespace, looksLikeNamespace, parseNamespace } from '../../../src/oci/namespace.ts';
import { findRepositoryName, parseRepositoryName } from '../../../src/oci/repository-name.ts';
import { findTag, parseTag } from '../../../src/oci/tag.ts';

const emptySha256 = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

describe('digests', () => {
  it('are computed and taken apart', () => {
    const short = digestOf(new Uint8Array());
    const long = digestOf(new Uint8Array(), 'sha512');
    expect(short).toBe(emptySha256);
    expect([digestAlgorithm(short), digestAlgorithm(long)]).toEqual(['sha256', 'sha512']);
    expect([digestHex(short), digestHex(long).length]).toEqual([emptySha256.slice(7), 128]);
    expect(parseDigest(long)).toBe(long);
    expect(createDigestHash('sha256').digest('hex')).toBe(digestHex(short));
  });

  it.each([
    '',
    'sha256',
    'sha256:',
    emptySha256.slice(0, -1),
    `${emptySha256}0`,
    emptySha256.toUpperCase(),
    emptySha256.replace('e3', 'E3'),
    emptySha256.replace('sha256', 'sha512'),
    emptySha256.replace('sha256', 'md5'),
    ` ${emptySha256}`,
    `${emptySha256}\n`,
    'sha256:../../../../etc/passwd',
    'sha256:baddigeststring',
  ])('refuse %j', (text) => {
    expect(findDigest(text)).toBeUndefined();
    expect(() => parseDigest(text)).toThrow(expect.objectContaining({ code: 'OCI_DIGEST_INVALID' }));
  });
});

describe('repository names', () => {
  it.each(['a', 'library/nginx', 'a.b/c_d/e__f/g-h/i---j/0', 'x'.repeat(255)])('accept %j', (text) => {
    expect(parseRepositoryName(text)).toBe(text);
  });

  it.each([
    '',
    '/',
    'a/',
    '/a',
    'a//b',
    '..',
    'a/../b',
    'a..b',
    'a___b',
    'a._b',
    '-a',
    'a-',
    'A',
    'ä',
    'a b',
    'a\n',
    'a%2fb',
    'a:b',
    'x'.repeat(256),
  ])('refuse %j', (text) => {
    expect(findRepositoryName(text)).toBeUndefined();
    expect(() => parseRepositoryName(text)).toThrow(expect.objectContaining({ code: 'OCI_NAME_INVALID' }));
  });

  it('are refused quickly however they are made', () => {
    const started = process.cpuUsage();
    for (const text of [`${'a'.repeat(254)}!`, 'a-'.repeat(127), `${'a_'.repeat(126)}!`, 'a/'.repeat(1e6)]) {
      expect(findRepositoryName(text)).toBeUndefined();
    }
    // CPU time, which does not pass while others use the machine. Whatever backtracks takes minutes.
    expect(process.cpuUsage(started).user / 1000).toBeLessThan(1000);
  });
});

describe('tags', () => {
  it.each(['latest', '1.2.3-rc_1', '_', 'A'.repeat(128)])('accept %j', (text) => {
    expect(parseTag(text)).toBe(text);
  });

  it.each(['', '.a', '-a', 'a/b', 'a:b', 'a\n', 'ü', 'A'.repeat(129)])('refuse %j', (text) => {
    expect(findTag(text)).toBeUndefined();
    expect(() => parseTag(text)).toThrow(expect.objectContaining({ code: 'OCI_TAG_INVALID' }));
  });
});

describe('namespaces', () => {
  it.each([
    ['docker.io', 'docker.io'],
    ['index.docker.io', 'docker.io'],
    ['registry-1.docker.io', 'docker.io'],
    ['GHCR.io', 'ghcr.io'],
    ['localhost', 'localhost'],
    ['myreg:5000', 'myreg:5000'],
    ['127.0.0.1:65535', '127.0.0.1:65535'],
    ['[::1]:5000', '[::1]:5000'],
    ['[2001:DB8::1]', '[2001:db8::1]'],
    ['[::ffff:1.2.3.4]', '[::ffff:1.2.3.4]'],
    ['1.a', '1.a'],
  ])('read %j as %j', (text, expected) => {
    expect(findNamespace(text)).toBe(expected);
  });

  it.each([
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    '-a',
    'a-',
    'a_b',
    'user@host',
    'host/path',
    'host?x',
    'host:',
    'host:0',
    'host:00080',
    'host:65536',
    'host:port',
    '::1',
    '[::1',
    '[::1%eth0]',
    '[1.2.3.4]',
    '[]',
    '127.1',
    '0x7f.1',
    '0x7f000001',
    '2130706433',
    '256.1.1.1',
    '1.2.3.4.5',
    'a\n',
    'hôst',
    `${'a'.repeat(64)}.io`,
    `${'a.'.repeat(127)}aa`,
    'a'.repeat(1000),
  ])('refuse %j', (text) => {
    expect(findNamespace(text)).toBeUndefined();
    expect(() => parseNamespace(text)).toThrow(expect.objectContaining({ code: 'OCI_NAME_INVALID' }));
  });

  it('are parsed to what is found', () => {
    expect(parseNamespace('Quay.IO')).toBe('quay.io');
  });

  it('are told from the first component of a name as docker does', () => {
    expect(['localhost', 'a.b', 'a:1'].map(looksLikeNamespace)).toEqual([true, true, true]);
    expect(['library', 'a-b', 'Host', ''].map(looksLikeNamespace)).toEqual([false, false, false, false]);
  });
});
