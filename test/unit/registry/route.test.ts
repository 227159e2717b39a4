import { describe, expect, it } from 'vitest';
import { readTarget } from '../../../src/registry/route.ts';

const digest = `sha256:${'a'.repeat(64)}`;

describe('readTarget', () => {
  for (const [target, route] of [
    ['/v2/', { kind: 'base' }],
    ['/v2', { kind: 'base' }],
    ['/v2/?ns=docker.io', { kind: 'base' }],
    ['/v2/_catalog', { kind: 'catalog' }],
    ['/v2/a/manifests/latest', { kind: 'manifest', name: 'a', reference: 'latest' }],
    [`/v2/library/a/manifests/${digest}`, { kind: 'manifest', name: 'library/a', reference: digest }],
    [`/v2/a/blobs/${digest}`, { kind: 'blob', name: 'a', digest }],
    [`/v2/a/blobs/sha256%3A${'a'.repeat(64)}`, { kind: 'blob', name: 'a', digest }],
    ['/v2/reg:5000/a/manifests/1', { kind: 'manifest', name: 'reg:5000/a', reference: '1' }],
    ['/v2/a/tags/list?n=2&last=x', { kind: 'tags', name: 'a' }],
    [`/v2/a/referrers/${digest}`, { kind: 'referrers', name: 'a', digest }],
    ['/v2/a/manifests/manifests/blobs', { kind: 'manifest', name: 'a/manifests', reference: 'blobs' }],
    ['/v2/a/blobs/tags/list', { kind: 'tags', name: 'a/blobs' }],
    ['/v2/a/blobs/uploads', { kind: 'upload', name: 'a' }],
    ['/v2/a/blobs/uploads/', { kind: 'upload', name: 'a' }],
    ['/v2/a/b/blobs/uploads/3f2a', { kind: 'upload', name: 'a/b' }],
    ['/v2/UPPER/manifests/1', { kind: 'manifest', name: 'UPPER', reference: '1' }],
    ['/', { kind: 'unknown' }],
    ['/v1/_ping', { kind: 'unknown' }],
    ['/v3/', { kind: 'unknown' }],
    ['/v2/a', { kind: 'unknown' }],
    ['/v2/a/tags/other', { kind: 'unknown' }],
    ['/v2/manifests/latest', { kind: 'unknown' }],
    ['/v2//manifests/latest', { kind: 'invalid' }],
    ['/v2/a//manifests/latest', { kind: 'invalid' }],
    ['/v2/a/manifests/', { kind: 'invalid' }],
    ['/v2/a/manifests/latest/', { kind: 'invalid' }],
    ['/v2/../manifests/latest', { kind: 'invalid' }],
    ['/v2/a/../b/manifests/latest', { kind: 'invalid' }],
    ['/v2/a/./manifests/latest', { kind: 'invalid' }],
    ['/v2/a%2fb/manifests/latest', { kind: 'invalid' }],
    ['/v2/a/manifests/%2e%2e', { kind: 'invalid' }],
    ['/v2/a/manifests/a%00', { kind: 'invalid' }],
    ['/v2/a/manifests/%zz', { kind: 'invalid' }],
    ['/v2/a\\b/manifests/latest', { kind: 'invalid' }],
    ['/v2/a/manifests/ä', { kind: 'invalid' }],
    ['/v2//blobs/uploads/', { kind: 'invalid' }],
    [`/v2/${'a/'.repeat(600)}manifests/x`, { kind: 'invalid' }],
    [`/v2/a/tags/list?${'n=1&'.repeat(600)}`, { kind: 'invalid' }],
    ['//evil.example/v2/a/manifests/x', { kind: 'unknown' }],
    ['http://evil.example/v2/a/manifests/x', { kind: 'unknown' }],
    ['', { kind: 'unknown' }],
    ['*', { kind: 'unknown' }],
  ] as const) {
    it(`reads ${target.length > 60 ? `${target.slice(0, 60)}…` : target}`, () => {
      expect(readTarget(target).route).toEqual(route);
    });
  }
});
