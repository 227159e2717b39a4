import { findNamespace, looksLikeNamespace, type Namespace } from '../oci/namespace.ts';
import { repositoryAt } from '../oci/reference.ts';
import type { Repository } from '../oci/repository.ts';
import { findRepositoryName } from '../oci/repository-name.ts';

// distribution and the clients count the host into the limit of a name.
const maxNameLength = 255;

/**
 * Maps the name in a path to a repository at an origin, in the three ways clients ask a mirror:
 * `?ns=<host>` (containerd, BuildKit); `<host>/<name>` (podman, CRI-O, `docker pull localhost:5000/ghcr.io/x/y`);
 * the bare name (dockerd), which is the default origin's. With `ns`, a prefix that repeats it is dropped: a BuildKit mirror with
 * a path sends both. Undefined for a name or host that breaks the grammar.
 */
export function findRepository(name: string, ns: string | undefined, defaultOrigin: Namespace): Repository | undefined {
  if (name.length > maxNameLength) return undefined;
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const rest = name.slice(slash + 1);
  const hasHost = looksLikeNamespace(first) && !/[A-Z]/.test(first);
  if (ns !== undefined) {
    const namespace = findNamespace(ns);
    if (namespace === undefined) return undefined;
    return repositoryOf(namespace, hasHost && findNamespace(first) === namespace ? rest : name);
  }
  if (!hasHost) return repositoryOf(defaultOrigin, name);
  const namespace = findNamespace(first);
  return namespace === undefined ? undefined : repositoryOf(namespace, rest);
}

/** The name under which a client finds a repository here without saying `ns`. */
export function pathName(repository: Repository): string {
  return `${repository.namespace}/${repository.name}`;
}

function repositoryOf(namespace: Namespace, name: string): Repository | undefined {
  const checked = findRepositoryName(name);
  return checked === undefined ? undefined : repositoryAt(namespace, checked);
}
