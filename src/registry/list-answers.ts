import type { Images } from '../image/images.ts';
import type { Digest } from '../oci/digest.ts';
import { mediaTypes } from '../oci/media-type.ts';
import { findNamespace, type Namespace } from '../oci/namespace.ts';
import type { Repository } from '../oci/repository.ts';
import type { ErrorAnswer } from './error-body.ts';
import type { Exchange } from './exchange.ts';
import { findRepository, pathName } from './name-mapping.ts';

/** distribution's own default and bound for its catalogue; the bound also keeps one answer small. */
const defaultPageSize = 100;
const maxPageSize = 1000;

const badNumber: ErrorAnswer = {
  status: 400,
  code: 'PAGINATION_NUMBER_INVALID',
  message: 'n must be a whole number that is not negative',
};

/** Answers `tags/list`. */
export async function answerTags(
  images: Images,
  exchange: Exchange,
  name: string,
  repository: Repository,
  query: URLSearchParams,
): Promise<void> {
  const limit = findLimit(query);
  if (limit === 'invalid') return exchange.sendError(badNumber);
  const last = query.get('last') ?? undefined;
  const headers = { 'oci-namespace': repository.namespace };
  if (limit === 0) return exchange.sendJson(200, { name, tags: [] }, headers);
  const page = await images.listTags(
    repository,
    { ...(limit !== undefined && { limit }), ...(last !== undefined && { last }) },
    exchange.signal,
  );
  const end = page.tags.at(-1);
  const link = page.hasMore && end !== undefined ? nextLink(`/v2/${name}/tags/list`, query, end, limit) : {};
  exchange.sendJson(200, { name, tags: page.tags }, { ...headers, ...link });
}

/** Answers `_catalog`: what is held here, under names that can be pulled as they stand; with `ns`, that origin's alone. */
export async function answerCatalog(
  images: Images,
  exchange: Exchange,
  query: URLSearchParams,
  defaultOrigin: Namespace,
): Promise<void> {
  const limit = findLimit(query) ?? defaultPageSize;
  if (limit === 'invalid') return exchange.sendError(badNumber);
  if (limit === 0) return exchange.sendJson(200, { repositories: [] });
  const ns = query.get('ns') ?? undefined;
  const namespace = ns === undefined ? undefined : findNamespace(ns);
  if (ns !== undefined && namespace === undefined) {
    return exchange.sendError({ status: 400, code: 'NAME_INVALID', message: 'ns is not a host name' });
  }
  const lastName = query.get('last');
  const last = lastName === null ? undefined : findRepository(lastName, ns, defaultOrigin);
  const found = await findPage(images, limit, last, namespace);
  const show = (repository: Repository) => (namespace === undefined ? pathName(repository) : repository.name);
  const repositories = found.repositories.map(show);
  const end = repositories.at(-1);
  const link = found.hasMore && end !== undefined ? nextLink('/v2/_catalog', query, end, limit) : {};
  exchange.sendJson(200, { repositories }, link);
}

/** Answers `referrers`: an index of what is held about the digest, empty for one nobody knows. */
export async function answerReferrers(
  images: Images,
  exchange: Exchange,
  repository: Repository,
  subject: Digest,
  query: URLSearchParams,
): Promise<void> {
  const artifactType = query.get('artifactType');
  const all = await images.listReferrers(repository, subject);
  const referrers = artifactType === null ? all : all.filter((descriptor) => descriptor.artifactType === artifactType);
  const manifests = referrers.map(({ sizeBytes, ...descriptor }) => ({ ...descriptor, size: sizeBytes }));
  const body = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  exchange.send(
    200,
    {
      'content-type': mediaTypes.ociIndex,
      'oci-namespace': repository.namespace,
      ...(artifactType !== null && { 'oci-filters-applied': 'artifactType' }),
    },
    Buffer.from(JSON.stringify(body)),
  );
}

/** Pages through what is held until the page is full; an origin's repositories lie together, so the walk can end after them. */
async function findPage(
  images: Images,
  limit: number,
  last: Repository | undefined,
  namespace: Namespace | undefined,
): Promise<{ repositories: readonly Repository[]; hasMore: boolean }> {
  if (namespace === undefined) return await images.listRepositories({ limit, ...(last !== undefined && { last }) });
  // The empty name sorts before every name of the namespace.
  const after = last ?? { namespace, name: '' };
  const page = await images.listRepositories({ limit, last: after });
  const repositories = page.repositories.filter((repository) => repository.namespace === namespace);
  return { repositories, hasMore: page.hasMore && repositories.length === page.repositories.length };
}

function findLimit(query: URLSearchParams): number | undefined | 'invalid' {
  const text = query.get('n');
  if (text === null) return undefined;
  return /^\d{1,16}$/.test(text) ? Math.min(Number(text), maxPageSize) : 'invalid';
}

/** Source: OCI distribution-spec, "Listing Tags": RFC 5988 `next`, with what else was asked for kept. */
function nextLink(path: string, query: URLSearchParams, last: string, limit: number | undefined) {
  const next = new URLSearchParams({ last });
  if (limit !== undefined) next.set('n', String(limit));
  const ns = query.get('ns');
  if (ns !== null) next.set('ns', ns);
  return { link: `<${path}?${next}>; rel="next"` };
}
