import { type Digest, findDigest } from './digest.ts';
import { OciError } from './errors.ts';
import { dockerHub, findNamespace, looksLikeNamespace, type Namespace } from './namespace.ts';
import type { Repository } from './repository.ts';
import { findRepositoryName } from './repository-name.ts';
import { findTag, type Tag } from './tag.ts';

/** An image as a person names it, made complete. With both, the digest decides and the tag is only told. */
export interface ImageReference {
  readonly repository: Repository;
  readonly tag?: Tag;
  readonly digest?: Digest;
}

export interface ReferenceDefaults {
  /** Used when the text names no host. */
  readonly namespace: Namespace;
  /** Used when the text has neither tag nor digest. */
  readonly tag: Tag;
}

// Host with port, name, tag and a sha512 digest at their longest.
const maxLength = 259 + 1 + 255 + 1 + 128 + 1 + 135;

/** Reads a reference as docker users write it (`nginx`, `ghcr.io/x/y:1@sha256:...`). @throws OCI_REFERENCE_INVALID */
export function parseReference(text: string, defaults: ReferenceDefaults): ImageReference {
  if (text.length > maxLength) throw invalid(text, `it is longer than ${maxLength} characters`);
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : findDigest(text.slice(at + 1));
  if (at >= 0 && digest === undefined) throw invalid(text, 'what follows "@" is not a sha256 or sha512 digest');

  const tagged = at < 0 ? text : text.slice(0, at);
  const colon = tagged.indexOf(':', tagged.lastIndexOf('/') + 1);
  const tag = colon < 0 ? undefined : findTag(tagged.slice(colon + 1));
  if (colon >= 0 && tag === undefined) throw invalid(text, 'what follows ":" is not a tag');

  const repository = findRepository(colon < 0 ? tagged : tagged.slice(0, colon), defaults.namespace, text);
  if (digest !== undefined) return tag === undefined ? { repository, digest } : { repository, tag, digest };
  return { repository, tag: tag ?? defaults.tag };
}

/** Writes a reference in full, so that reading it back needs no default. */
export function formatReference(reference: ImageReference): string {
  const { repository, tag, digest } = reference;
  return `${repository.namespace}/${repository.name}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

/** Returns the repository a name means at a namespace: Docker Hub's official images live under `library/`. */
export function repositoryAt(namespace: Namespace, name: string): Repository {
  return { namespace, name: namespace === dockerHub && !name.includes('/') ? `library/${name}` : name };
}

function findRepository(path: string, defaultNamespace: Namespace, text: string): Repository {
  const slash = path.indexOf('/');
  const first = path.slice(0, Math.max(slash, 0));
  let namespace = defaultNamespace;
  let written = path;
  if (looksLikeNamespace(first)) {
    const found = findNamespace(first);
    if (found === undefined) throw invalid(text, `"${first}" is not a host name`);
    namespace = found;
    written = path.slice(slash + 1);
  }
  const name = findRepositoryName(written);
  if (name === undefined) throw invalid(text, 'the repository name is not lower-case path components');
  // Docker refuses it too: it would be taken for an image ID.
  if (/^[0-9a-f]{64}$/.test(name)) throw invalid(text, 'a repository name cannot be 64 hexadecimal digits');
  return repositoryAt(namespace, name);
}

function invalid(text: string, why: string): OciError {
  return new OciError('OCI_REFERENCE_INVALID', `cannot read image reference: ${why}`, {
    details: { reference: text.slice(0, 160) },
  });
}
