import { describe, expect, it } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { dockerHub, parseNamespace } from '../../../src/oci/namespace.ts';
import { formatReference, parseReference, repositoryAt } from '../../../src/oci/reference.ts';
import { parseTag } from '../../../src/oci/tag.ts';

const defaults = { namespace: dockerHub, tag: parseTag('latest') };
const digest = digestOf(Buffer.from('x'));

describe('references', () => {
  it.each([
    ['nginx', 'docker.io/library/nginx:latest'],
    ['docker.io/library/nginx:1', 'docker.io/library/nginx:1'],
    ['docker.io/nginx', 'docker.io/library/nginx:latest'],
    ['index.docker.io/nginx', 'docker.io/library/nginx:latest'],
    ['registry-1.docker.io/x/y', 'docker.io/x/y:latest'],
    ['x/y:1', 'docker.io/x/y:1'],
    [`ghcr.io/x/y@${digest}`, `ghcr.io/x/y@${digest}`],
    [`x/y:1@${digest}`, `docker.io/x/y:1@${digest}`],
    ['localhost:5000/x', 'localhost:5000/x:latest'],
    ['localhost/x', 'localhost/x:latest'],
    ['localhost:5000', 'docker.io/library/localhost:5000'],
    ['[::1]:5000/x:2', '[::1]:5000/x:2'],
    ['MyReg.io/x', 'myreg.io/x:latest'],
    ['a'.repeat(63), `docker.io/library/${'a'.repeat(63)}:latest`],
  ])('read %j as %j', (text, full) => {
    const reference = parseReference(text, defaults);
    expect(formatReference(reference)).toBe(full);
    expect(parseReference(full, defaults)).toEqual(reference);
  });

  it('use the defaults they are given', () => {
    const own = { namespace: parseNamespace('reg.example:5000'), tag: parseTag('stable') };
    expect(formatReference(parseReference('nginx', own))).toBe('reg.example:5000/nginx:stable');
    expect(repositoryAt(own.namespace, 'nginx').name).toBe('nginx');
    expect(repositoryAt(dockerHub, 'nginx').name).toBe('library/nginx');
  });

  it.each([
    '',
    ':1',
    '/x',
    'x:',
    'x@',
    `x@${digest}@${digest}`,
    `@${digest}`,
    'x@sha256:12',
    'x:-1',
    'Nginx',
    'https://ghcr.io/x/y',
    'bad_host.io/x',
    'host:99999/x',
    'x/../y',
    'MyReg/x',
    'a'.repeat(64),
    'x'.repeat(2000),
  ])('refuse %j', (text) => {
    expect(() => parseReference(text, defaults)).toThrow(expect.objectContaining({ code: 'OCI_REFERENCE_INVALID' }));
  });
});
