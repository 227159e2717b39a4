import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dockerHub } from '../../src/oci/namespace.ts';
import { findRepositoryName } from '../../src/oci/repository-name.ts';
import { decideRange } from '../../src/registry/byte-range.ts';
import { matchesEtag } from '../../src/registry/exchange.ts';
import { findRepository } from '../../src/registry/name-mapping.ts';
import { readTarget } from '../../src/registry/route.ts';

const runs = { numRuns: 2000 };
const nearPaths = fc
  .array(
    fc.oneof(
      fc.constantFrom('/', 'v2', 'manifests', 'blobs', 'tags', 'list', 'uploads', 'referrers', '..', '.', '%2f', '%00'),
      fc.constantFrom(
        'library',
        'A',
        'docker.io',
        'r:5000',
        '?',
        '&',
        'ns=',
        'sha256:',
        '\\',
        '\r\n',
        '%3a',
        '_catalog',
      ),
      fc.string({ maxLength: 12, unit: 'binary' }),
    ),
    { maxLength: 14 },
  )
  .map((parts) => `/v2/${parts.join('/')}`);

describe('readTarget', () => {
  it('reads or refuses anything, and what it lets through has no trick in it', () => {
    fc.assert(
      fc.property(fc.oneof(nearPaths, fc.string({ unit: 'binary', maxLength: 3000 })), (target) => {
        const { route } = readTarget(target);
        if (!('name' in route)) return;
        const read = [route.name, 'reference' in route ? route.reference : '', 'digest' in route ? route.digest : ''];
        for (const part of read) {
          expect(part).toMatch(/^[\w./:@+=-]*$/);
          expect(part.split('/')).not.toContain('..');
        }
        expect(route.name.split('/')).not.toContain('');
      }),
      runs,
    );
  });

  it('finds name and reference again that were put into a path', () => {
    const component = fc.stringMatching(/^[a-z0-9]{1,8}$/);
    const names = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    fc.assert(
      fc.property(names, component, (name, reference) => {
        expect(readTarget(`/v2/${name}/manifests/${reference}`).route).toEqual({ kind: 'manifest', name, reference });
      }),
      runs,
    );
  });
});

describe('findRepository', () => {
  it('gives a valid name at a plain host, or nothing', () => {
    const hosts = fc.oneof(fc.constantFrom('docker.io', 'a.b:1', 'localhost', '[::1]:5', 'x@y', '../..'), fc.string());
    fc.assert(
      fc.property(fc.oneof(nearPaths, fc.string()), fc.option(hosts, { nil: undefined }), (name, ns) => {
        const repository = findRepository(name, ns, dockerHub);
        if (repository === undefined) return;
        expect(findRepositoryName(repository.name)).toBe(repository.name);
        expect(repository.namespace).toMatch(/^[a-z0-9.:[\]-]+$/);
      }),
      runs,
    );
  });
});

describe('decideRange', () => {
  const number = fc.oneof(fc.nat({ max: 3000 }).map(String), fc.constantFrom('', '99999999999999999999', '-1', 'x'));
  const specs = fc.array(
    fc.tuple(number, number).map(([first, last]) => `${first}-${last}`),
    { maxLength: 8 },
  );
  const headers = fc.oneof(
    specs.map((all) => `bytes=${all.join(',')}`),
    fc.string(),
  );

  it('stays inside the blob and never asks for more than it', () => {
    fc.assert(
      fc.property(headers, fc.nat({ max: 2500 }), (header, sizeBytes) => {
        const answer = decideRange(header, sizeBytes, 6);
        const spans = answer.kind === 'single' ? [answer.span] : answer.kind === 'multiple' ? answer.spans : [];
        for (const { start, end } of spans) {
          expect(start).toBeGreaterThanOrEqual(0);
          expect(start).toBeLessThan(end);
          expect(end).toBeLessThanOrEqual(sizeBytes);
        }
        expect(spans.length).toBeLessThanOrEqual(6);
        expect(spans.reduce((total, { start, end }) => total + end - start, 0)).toBeLessThanOrEqual(sizeBytes);
        if (answer.kind === 'multiple') expect(spans.length).toBeGreaterThan(1);
      }),
      runs,
    );
  });

  it('reads what it means', () => {
    fc.assert(
      fc.property(fc.nat({ max: 999 }), fc.nat({ max: 999 }), (one, other) => {
        const [start, last] = [Math.min(one, other), Math.max(one, other)];
        expect(decideRange(`bytes=${start}-${last}`, 1000, 1)).toEqual({
          kind: 'single',
          span: { start, end: last + 1 },
        });
      }),
      runs,
    );
  });
});

it('matchesEtag answers anything', () => {
  fc.assert(
    fc.property(fc.string(), (header) => {
      expect(typeof matchesEtag(header, '"x"')).toBe('boolean');
    }),
    runs,
  );
});
