/** What a request path means; names and references are as they stand there, not yet checked against their grammar. */
export type Route =
  | { readonly kind: 'base' }
  | { readonly kind: 'catalog' }
  | { readonly kind: 'manifest'; readonly name: string; readonly reference: string }
  | { readonly kind: 'blob'; readonly name: string; readonly digest: string }
  | { readonly kind: 'tags'; readonly name: string }
  | { readonly kind: 'referrers'; readonly name: string; readonly digest: string }
  | { readonly kind: 'upload'; readonly name: string }
  /** A path of the API that cannot be meant seriously. */
  | { readonly kind: 'invalid' }
  /** No path of the API. */
  | { readonly kind: 'unknown' };

export interface Target {
  readonly route: Route;
  readonly query: URLSearchParams;
}

// Host, name and a sha512 digest at their longest, with room for the words between them.
const maxPathLength = 1024;
// A namespace, a tag, a repository, a media type and a number at their longest.
const maxQueryLength = 2048;

/**
 * Reads a request target as it came over the wire. Nothing is normalised, since two programs that normalise differently can be
 * played off against each other: `..`, `//`, a backslash, a control character, or any percent-encoding but that of the colon is
 * refused. Source of the paths: OCI distribution-spec, "Endpoints"; the verb is looked for from the end, as names may hold it.
 */
export function readTarget(target: string): Target {
  const questionMark = target.indexOf('?');
  const path = questionMark < 0 ? target : target.slice(0, questionMark);
  const queryText = questionMark < 0 ? '' : target.slice(questionMark + 1);
  if (queryText.length > maxQueryLength) return { route: { kind: 'invalid' }, query: new URLSearchParams() };
  return { route: readPath(path), query: new URLSearchParams(queryText) };
}

function readPath(path: string): Route {
  if (path === '/v2/' || path === '/v2') return { kind: 'base' };
  if (!path.startsWith('/v2/')) return { kind: 'unknown' };
  if (path.length > maxPathLength) return { kind: 'invalid' };
  const plain = path.replace(/%3a/gi, ':');
  if (!/^[\w./:@+=-]+$/.test(plain)) return { kind: 'invalid' };
  if (plain === '/v2/_catalog') return { kind: 'catalog' };

  const segments = plain.slice('/v2/'.length).split('/');
  const upload = findUpload(segments);
  if (upload !== undefined) return upload;
  if (segments.some(isTrick)) return { kind: 'invalid' };
  const last = segments.at(-1) ?? '';
  const verb = segments.at(-2);
  const name = segments.slice(0, -2).join('/');
  if (name === '') return { kind: 'unknown' };
  switch (verb) {
    case 'manifests':
      return { kind: 'manifest', name, reference: last };
    case 'blobs':
      return { kind: 'blob', name, digest: last };
    case 'referrers':
      return { kind: 'referrers', name, digest: last };
    case 'tags':
      return last === 'list' ? { kind: 'tags', name } : { kind: 'unknown' };
    default:
      return { kind: 'unknown' };
  }
}

/** `<name>/blobs/uploads`, `<name>/blobs/uploads/` and `<name>/blobs/uploads/<session>`. */
function findUpload(segments: readonly string[]): Route | undefined {
  for (const length of [2, 3]) {
    const [blobs, uploads] = segments.slice(-length);
    const name = segments.slice(0, -length);
    if (blobs !== 'blobs' || uploads !== 'uploads' || name.length === 0) continue;
    return name.some(isTrick) ? { kind: 'invalid' } : { kind: 'upload', name: name.join('/') };
  }
  return undefined;
}

function isTrick(segment: string): boolean {
  return segment === '' || segment === '.' || segment === '..';
}
