import type { OriginBlob, OriginContent } from './origin-content.ts';

/** What a request asks of a read-only registry, read from its method and path. */
export interface OriginQuestion {
  readonly kind: OriginQuestionKind;
  readonly repository?: string;
  /** Tag or digest. */
  readonly reference?: string;
}

export type OriginQuestionKind =
  | 'ping'
  | 'manifest-head'
  | 'manifest-get'
  | 'blob-head'
  | 'blob-get'
  | 'tags'
  | 'other';

/** An answer before it is sent, so that a test can change any part of it. */
export interface OriginAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Absent = no body. If the iteration throws, the connection is cut. */
  readonly body?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

// Runs this long keep one read cheap to generate and still amortise the cost of a write.
const runBytes = 256 * 1024;

const pathPattern = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/;
const tagsPattern = /^\/v2\/(.+)\/tags\/list$/;

/** Reads a request line. */
export function readQuestion(method: string, path: string): OriginQuestion {
  if (path === '/v2/' || path === '/v2') return { kind: 'ping' };
  const tags = tagsPattern.exec(path);
  if (tags?.[1] !== undefined && method === 'GET') return { kind: 'tags', repository: tags[1] };
  const match = pathPattern.exec(path);
  const [, repository, noun, reference] = match ?? [];
  if (repository === undefined || reference === undefined || (method !== 'GET' && method !== 'HEAD')) {
    return { kind: 'other' };
  }
  const prefix = noun === 'blobs' ? 'blob' : 'manifest';
  return { kind: `${prefix}-${method === 'HEAD' ? 'head' : 'get'}`, repository, reference };
}

/** Computes the answer of a well-behaved registry. */
export function answerQuestion(
  content: OriginContent,
  question: OriginQuestion,
  request: { readonly query: URLSearchParams; readonly range: string | undefined },
): OriginAnswer {
  const { repository = '', reference = '' } = question;
  switch (question.kind) {
    case 'ping':
      return jsonAnswer(200, {});
    case 'tags':
      return answerTags(content, repository, request.query);
    case 'manifest-head':
    case 'manifest-get': {
      const manifest = content.findManifest(repository, reference);
      if (manifest === undefined) return errorAnswer(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
      const headers = {
        'content-type': manifest.mediaType,
        'content-length': String(manifest.bytes.length),
        'docker-content-digest': manifest.digest,
        etag: `"${manifest.digest}"`,
      };
      return question.kind === 'manifest-head'
        ? { status: 200, headers }
        : { status: 200, headers, body: [manifest.bytes] };
    }
    case 'blob-head':
    case 'blob-get': {
      const blob = content.findBlob(repository, reference);
      if (blob === undefined) return errorAnswer(404, 'BLOB_UNKNOWN', 'blob unknown to registry');
      const range = question.kind === 'blob-get' ? request.range : undefined;
      return answerBlob(blob, range, question.kind === 'blob-head');
    }
    default:
      return errorAnswer(404, 'UNSUPPORTED', 'no such resource');
  }
}

/** Builds an error answer in the registry's JSON form. */
export function errorAnswer(status: number, code: string, message: string): OriginAnswer {
  return jsonAnswer(status, { errors: [{ code, message }] });
}

export function jsonAnswer(status: number, value: unknown): OriginAnswer {
  const bytes = Buffer.from(JSON.stringify(value));
  return {
    status,
    headers: { 'content-type': 'application/json', 'content-length': String(bytes.length) },
    body: [bytes],
  };
}

function answerBlob(blob: OriginBlob, rangeHeader: string | undefined, isHead: boolean): OriginAnswer {
  const headers: Record<string, string> = {
    'content-type': 'application/octet-stream',
    'docker-content-digest': blob.digest,
    etag: `"${blob.digest}"`,
    'accept-ranges': 'bytes',
    'cache-control': 'max-age=31536000',
  };
  const range = rangeHeader === undefined ? undefined : readRange(rangeHeader, blob.sizeBytes);
  if (range === 'unsatisfiable') {
    return { status: 416, headers: { 'content-range': `bytes */${blob.sizeBytes}`, 'content-length': '0' } };
  }
  const { start, end } = range ?? { start: 0, end: blob.sizeBytes };
  headers['content-length'] = String(end - start);
  if (range !== undefined) headers['content-range'] = `bytes ${start}-${end - 1}/${blob.sizeBytes}`;
  const status = range === undefined ? 200 : 206;
  return isHead ? { status, headers } : { status, headers, body: readRuns(blob, start, end) };
}

/** Reads a single byte range; undefined = answer the whole (RFC 9110 section 14.2 allows that for anything else). */
function readRange(header: string, sizeBytes: number): { start: number; end: number } | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header);
  const [, first = '', last = ''] = match ?? [];
  if (match === null || (first === '' && last === '')) return undefined;
  if (first === '') {
    const length = Math.min(Number(last), sizeBytes);
    return length === 0 ? 'unsatisfiable' : { start: sizeBytes - length, end: sizeBytes };
  }
  const start = Number(first);
  const end = last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes);
  if (last !== '' && Number(last) < start) return undefined;
  return start >= sizeBytes ? 'unsatisfiable' : { start, end };
}

function* readRuns(blob: OriginBlob, start: number, end: number): Generator<Uint8Array> {
  for (let at = start; at < end; at += runBytes) yield blob.read(at, Math.min(at + runBytes, end));
}

function answerTags(content: OriginContent, repository: string, query: URLSearchParams): OriginAnswer {
  const all = content.findTags(repository);
  if (all === undefined) return errorAnswer(404, 'NAME_UNKNOWN', 'repository name not known to registry');
  const last = query.get('last');
  const after = last === null ? all : all.filter((tag) => tag > last);
  const limitText = query.get('n');
  const limit = limitText === null ? after.length : Number(limitText);
  const tags = after.slice(0, limit);
  const answer = jsonAnswer(200, { name: repository, tags });
  if (tags.length === 0 || tags.length === after.length) return answer;
  const next = new URLSearchParams({ n: String(limit), last: tags.at(-1) ?? '' });
  return { ...answer, headers: { ...answer.headers, link: `</v2/${repository}/tags/list?${next}>; rel="next"` } };
}
