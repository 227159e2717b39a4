import { describe, expect, it } from 'vitest';
import { dockerHub, parseNamespace } from '../../../src/oci/namespace.ts';
import { findRepository } from '../../../src/registry/name-mapping.ts';

describe('findRepository', () => {
  for (const [name, ns, namespace, repository] of [
    // containerd, BuildKit, nerdctl, k3s
    ['library/x', 'docker.io', 'docker.io', 'library/x'],
    ['x', 'docker.io', 'docker.io', 'library/x'],
    ['library/x', 'registry-1.docker.io', 'docker.io', 'library/x'],
    ['team/app', 'quay.io', 'quay.io', 'team/app'],
    ['app', 'quay.io', 'quay.io', 'app'],
    ['app', 'myreg:5000', 'myreg:5000', 'app'],
    ['app', 'localhost:5000', 'localhost:5000', 'app'],
    // BuildKit mirror with a path sends both
    ['docker.io/library/x', 'docker.io', 'docker.io', 'library/x'],
    ['quay.io/team/app', 'docker.io', 'docker.io', 'quay.io/team/app'],
    // dockerd
    ['library/x', undefined, 'docker.io', 'library/x'],
    ['x', undefined, 'docker.io', 'library/x'],
    ['team/app', undefined, 'docker.io', 'team/app'],
    // podman, CRI-O, skopeo, buildah
    ['docker.io/library/x', undefined, 'docker.io', 'library/x'],
    ['docker.io/x', undefined, 'docker.io', 'library/x'],
    ['index.docker.io/library/x', undefined, 'docker.io', 'library/x'],
    ['ghcr.io/owner/app', undefined, 'ghcr.io', 'owner/app'],
    ['registry.k8s.io/pause', undefined, 'registry.k8s.io', 'pause'],
    ['myreg:5000/app', undefined, 'myreg:5000', 'app'],
    ['localhost/app', undefined, 'localhost', 'app'],
    ['127.0.0.1:5000/app', undefined, '127.0.0.1:5000', 'app'],
    // a name of one component is no host, whatever it looks like
    ['ghcr.io', undefined, 'docker.io', 'library/ghcr.io'],
  ] as const) {
    it(`maps ${name}${ns === undefined ? '' : ` with ns=${ns}`} to ${namespace}/${repository}`, () => {
      expect(findRepository(name, ns, dockerHub)).toEqual({ namespace, name: repository });
    });
  }

  for (const [name, ns] of [
    ['UPPER/x', undefined],
    ['Docker.io/library/x', undefined],
    ['library/X', 'docker.io'],
    ['library/x', ''],
    ['library/x', 'docker.io/evil'],
    ['library/x', 'user@docker.io'],
    ['library/x', 'http://docker.io'],
    ['library/x', 'docker.io:99999'],
    ['library/x', 'a b'],
    ['library/x', '127.1'],
    ['-x', undefined],
    ['a..b', undefined],
    ['a.b/', undefined],
    [`${'a'.repeat(300)}`, undefined],
    [`${'a'.repeat(300)}`, 'docker.io'],
    ['1.2.3.4.5/x', undefined],
  ] as const) {
    it(`refuses ${name.slice(0, 40)}${ns === undefined ? '' : ` with ns=${ns}`}`, () => {
      expect(findRepository(name, ns, dockerHub)).toBeUndefined();
    });
  }

  it('uses the configured default origin', () => {
    expect(findRepository('x', undefined, parseNamespace('reg.lan'))).toEqual({ namespace: 'reg.lan', name: 'x' });
  });
});
