import { OciError } from './errors.ts';

declare const repositoryNameBrand: unique symbol;

/** A repository name without its namespace (`library/nginx`); made only by `parseRepositoryName` and `findRepositoryName`. */
export type RepositoryName = string & { readonly [repositoryNameBrand]: true };

// docker, containerd and podman refuse longer names, and distribution counts the host into the same limit.
const maxLength = 255;

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const pattern = new RegExp(`^${component}(?:/${component})*$`);

/** Reads a repository name, or returns undefined. Source: OCI distribution-spec, "Pulling manifests". */
export function findRepositoryName(text: string): RepositoryName | undefined {
  return text.length <= maxLength && pattern.test(text) ? (text as RepositoryName) : undefined;
}

/** Reads a repository name. @throws OCI_NAME_INVALID */
export function parseRepositoryName(text: string): RepositoryName {
  const name = findRepositoryName(text);
  if (name === undefined) {
    throw new OciError(
      'OCI_NAME_INVALID',
      `repository name must be lower-case path components of letters, digits and single separators, at most ${maxLength} characters`,
      { details: { name: text.slice(0, 160) } },
    );
  }
  return name;
}
