import { type Digest, findDigest } from '../../oci/digest.ts';
import type { Repository } from '../../oci/repository.ts';
import type { KeyRange } from '../key-value.ts';
import type { ReferenceEdge } from '../metadata-store.ts';

/**
 * The key table, `!` between parts:
 *   b!<digest>                           complete blob              p!<digest>   its signed pieces
 *   e!<digest>                           bucket of its last use     a!<bucket>!<digest>   the same, ordered by bucket
 *   z!<digest>!<generation>              unlink intent, replayed at start
 *   d!<digest>                           what a manifest says, whatever repository it is in
 *   m!<namespace>!<name>!<digest>        manifest in a repository
 *   t!<namespace>!<name>!<tag>           tag
 *   n!<namespace>!<name>                 repository name seen
 *   f!<namespace>!<name>!<subject>!<digest>   referrer of a subject
 *   r!<digest>!<kind>!<owner parts>      reference edge             c!<digest>   how many of them
 *   L!<owner>!<digest>                   lease
 */
export type EdgeLetter = 'm' | 't' | 'l' | 's' | 'P';

const edgeKinds: Readonly<Record<EdgeLetter, ReferenceEdge['kind']>> = {
  m: 'child',
  t: 'tag',
  l: 'repository',
  s: 'subject',
  P: 'pin',
};

export const repositoryPart = (repository: Repository): string =>
  `${escapePart(repository.namespace)}!${escapePart(repository.name)}`;

export const keys = {
  blob: (digest: Digest) => `b!${digest}`,
  signedPieces: (digest: Digest) => `p!${digest}`,
  lastUse: (digest: Digest) => `e!${digest}`,
  useOrder: (bucket: string, digest: Digest) => `a!${bucket}!${digest}`,
  tombstone: (digest: Digest, generation: string) => `z!${digest}!${generation}`,
  description: (digest: Digest) => `d!${digest}`,
  manifest: (repository: Repository, digest: Digest) => `m!${repositoryPart(repository)}!${digest}`,
  tag: (repository: Repository, tag: string) => `t!${repositoryPart(repository)}!${escapePart(tag)}`,
  repository: (repository: Repository) => `n!${repositoryPart(repository)}`,
  referrer: (repository: Repository, subject: Digest, digest: Digest) =>
    `f!${repositoryPart(repository)}!${subject}!${digest}`,
  edge: (digest: Digest, letter: EdgeLetter, owner: string) => `r!${digest}!${letter}!${owner}`,
  count: (digest: Digest) => `c!${digest}`,
  lease: (owner: string, digest: Digest) => `L!${escapePart(owner)}!${digest}`,
};

/** Returns the range of all keys that begin with the prefix; `after` leaves out everything up to and including prefix+after. */
export function prefixRange(prefix: string, after?: string): KeyRange {
  // '~' is the highest character a key may hold, and no key part begins with DEL.
  return { from: after === undefined ? prefix : `${prefix}${after}\x00`, to: `${prefix}\x7f` };
}

/** Splits a key into its parts, unescaped; the first is the table's letter. */
export function keyParts(key: string): string[] {
  return key.split('!').map(unescapePart);
}

/** Reads a digest out of a key, or undefined when the key is not ours. */
export function keyDigest(part: string | undefined): Digest | undefined {
  return part === undefined ? undefined : findDigest(part);
}

/** Reads an edge key, with the owner in the form people know: `docker.io/library/nginx:1`. */
export function readEdgeKey(key: string): ReferenceEdge | undefined {
  const [, , letter, namespace = '', name = '', last] = keyParts(key);
  if (letter === undefined || !Object.hasOwn(edgeKinds, letter)) return undefined;
  const kind = edgeKinds[letter as EdgeLetter];
  if (letter === 'P') return { kind, owner: namespace };
  const suffix = last === undefined ? '' : `${letter === 't' ? ':' : '@'}${last}`;
  return { kind, owner: `${namespace}/${name}${suffix}` };
}

/** Makes any text a key part: printable ASCII stays, the rest, `!` and `%` become %XX. Valid names are left as they are. */
export function escapePart(text: string): string {
  return text.replace(/[^\x22-\x24\x26-\x7e]/gu, (character) =>
    [...Buffer.from(character, 'utf8')].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''),
  );
}

function unescapePart(part: string): string {
  if (!part.includes('%')) return part;
  return Buffer.from(
    part.replace(/%([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  ).toString('utf8');
}
