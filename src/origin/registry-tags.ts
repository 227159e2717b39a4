import { OriginError } from './errors.ts';
import { readBody } from './http/read-body.ts';
import type { OriginTagPage } from './origin.ts';
import type { OriginSession } from './session.ts';

// Some 30,000 tags of the longest kind; a registry with more pages them.
const maxListBytes = 4 * 1024 * 1024;
const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Lists a page of tags; what is no tag by the grammar is left out. */
export async function listTags(
  session: OriginSession,
  repository: string,
  page: { readonly limit?: number; readonly last?: string },
  signal: AbortSignal,
): Promise<OriginTagPage> {
  const query = new URLSearchParams();
  if (page.limit !== undefined) query.set('n', String(page.limit));
  if (page.last !== undefined) query.set('last', page.last);
  const path = query.size === 0 ? '/tags/list' : `/tags/list?${query}`;
  const headers = { accept: 'application/json' };
  return await session.exchange(
    { operation: 'tags', method: 'GET', repository, path, headers },
    signal,
    async (response) => {
      const all = readTags((await readBody(response, maxListBytes, 'list of tags')).toString());
      if (all === undefined) throw new OriginError('ORIGIN_BAD_ANSWER', 'the origin gave no readable list of tags');
      const tags = all.slice(0, page.limit ?? all.length);
      const isLinked = /;\s*rel="?next"?/i.test(response.headers['link'] ?? '');
      // A registry that does not page sends everything; what lies behind the limit is the next page.
      return { tags, hasMore: tags.length > 0 && (isLinked || tags.length < all.length) };
    },
  );
}

/** Reads the JSON of a list; undefined when it is none. `null` stands for an empty list at some registries. */
export function readTags(text: string): readonly string[] | undefined {
  let answer: { tags?: unknown } | null;
  try {
    answer = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof answer !== 'object' || answer === null) return undefined;
  const { tags } = answer;
  if (tags === null || tags === undefined) return [];
  return Array.isArray(tags) ? tags.filter((tag) => typeof tag === 'string' && tagPattern.test(tag)) : undefined;
}
