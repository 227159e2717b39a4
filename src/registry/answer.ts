import type { Images } from '../image/images.ts';
import { isAbort, toError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { findDigest } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';
import { answerBlob, type BlobAnswerDeps } from './blob-answer.ts';
import { type ErrorAnswer, findErrorAnswer } from './error-body.ts';
import type { Exchange } from './exchange.ts';
import { answerCatalog, answerReferrers, answerTags } from './list-answers.ts';
import { answerManifest } from './manifest-answer.ts';
import { findRepository } from './name-mapping.ts';
import type { RegistryOptions } from './options.ts';
import type { Route, Target } from './route.ts';

export interface AnswerDeps extends BlobAnswerDeps {
  readonly images: Images;
  readonly logger: Logger;
}

const unsupported: ErrorAnswer = {
  status: 405,
  code: 'UNSUPPORTED',
  message: 'this registry is a mirror for pulling; push to the origin',
  headers: { allow: 'GET, HEAD' },
};
const invalidName: ErrorAnswer = { status: 400, code: 'NAME_INVALID', message: 'invalid repository name or path' };
const noEndpoint: ErrorAnswer = { status: 404, code: 'UNSUPPORTED', message: 'no such endpoint' };
const bug: ErrorAnswer = { status: 500, code: 'UNKNOWN', message: 'internal error; the log of the node has its cause' };

/** Answers one request. Never throws: an answer that cannot be completed is cut, so that no client takes it for whole. */
export async function answerRequest(
  deps: AnswerDeps,
  options: RegistryOptions,
  exchange: Exchange,
  target: Target,
): Promise<void> {
  try {
    await answerRoute(deps, options, exchange, target);
  } catch (thrown) {
    const error = toError(thrown);
    const { response, requestId } = exchange;
    const isGone = exchange.signal.aborted || isAbort(error);
    const answer = findErrorAnswer(error);
    if (answer === undefined && !isGone) {
      deps.logger.error({ requestId, route: target.route.kind, error }, 'request failed for an unknown reason');
    }
    if (response.headersSent || isGone) {
      if (!isGone)
        deps.logger.warn({ requestId, route: target.route.kind, error }, 'answer cut: it cannot be completed');
      response.destroy();
      return;
    }
    exchange.sendError(answer ?? bug);
  }
}

async function answerRoute(
  deps: AnswerDeps,
  options: RegistryOptions,
  exchange: Exchange,
  { route, query }: Target,
): Promise<void> {
  if (route.kind === 'invalid') return exchange.sendError(invalidName);
  if (route.kind === 'unknown') return exchange.sendError(noEndpoint);
  const isRead = exchange.request.method === 'GET' || exchange.isHead;
  if (!isRead || route.kind === 'upload') return exchange.sendError(unsupported);
  if (route.kind === 'base') return exchange.sendJson(200, {});
  if (query.getAll('ns').length > 1) return exchange.sendError(invalidName);
  if (route.kind === 'catalog') return await answerCatalog(deps.images, exchange, query, options.defaultOrigin);

  const repository = findRepository(route.name, query.get('ns') ?? undefined, options.defaultOrigin);
  if (repository === undefined) return exchange.sendError(invalidName);
  if (!options.allowsNamespace(repository.namespace)) return exchange.sendError(refusal(repository));
  await answerRepository(deps, options, exchange, { route, query }, repository);
}

type RepositoryRoute = Extract<Route, { name: string }>;

async function answerRepository(
  deps: AnswerDeps,
  options: RegistryOptions,
  exchange: Exchange,
  { route, query }: { route: RepositoryRoute; query: URLSearchParams },
  repository: Repository,
): Promise<void> {
  switch (route.kind) {
    case 'manifest':
      return await answerManifest(deps.images, exchange, repository, route.reference);
    case 'tags':
      return await answerTags(deps.images, exchange, route.name, repository, query);
    case 'blob':
    case 'referrers': {
      const digest = findDigest(route.digest);
      if (digest === undefined) {
        return exchange.sendError({
          status: 400,
          code: 'DIGEST_INVALID',
          message: 'not a sha256 or sha512 digest',
        });
      }
      if (route.kind === 'blob') return await answerBlob(deps, options, exchange, repository, digest);
      return await answerReferrers(deps.images, exchange, repository, digest, query);
    }
    case 'upload':
      return exchange.sendError(unsupported);
  }
}

function refusal({ namespace }: Repository): ErrorAnswer {
  return {
    status: 404,
    code: 'NAME_UNKNOWN',
    message: `${namespace} is not an origin of this node`,
    detail: { namespace },
  };
}
