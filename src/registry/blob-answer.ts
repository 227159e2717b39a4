import { randomBytes } from 'node:crypto';
import type { Images, OpenedBlob, RangeReader } from '../image/images.ts';
import type { Clock } from '../lib/clock.ts';
import { raceAbort } from '../lib/race-abort.ts';
import { type Digest, digestAlgorithm, digestOf } from '../oci/digest.ts';
import type { Repository } from '../oci/repository.ts';
import { type BegunSpan, BodyWriter } from './body-writer.ts';
import type { BufferPool } from './buffer-pool.ts';
import { type ByteSpan, decideRange } from './byte-range.ts';
import { type Exchange, matchesEtag } from './exchange.ts';
import type { RegistryMetrics } from './metrics.ts';
import type { RegistryOptions } from './options.ts';

export interface BlobAnswerDeps {
  readonly images: Images;
  readonly clock: Clock;
  readonly pool: BufferPool;
  readonly metrics: RegistryMetrics;
}

const contentType = 'application/octet-stream';

/** Answers GET and HEAD of a blob. */
export async function answerBlob(
  deps: BlobAnswerDeps,
  options: RegistryOptions,
  exchange: Exchange,
  repository: Repository,
  digest: Digest,
): Promise<void> {
  const etag = `"${digest}"`;
  const headers = {
    'accept-ranges': 'bytes',
    'cache-control': 'max-age=31536000',
    'docker-content-digest': digest,
    etag,
    'oci-namespace': repository.namespace,
  };
  if (exchange.isHead || matchesEtag(exchange.header('if-none-match'), etag)) {
    const { sizeBytes } = await deps.images.statBlob(repository, digest, exchange.signal);
    if (matchesEtag(exchange.header('if-none-match'), etag)) exchange.send(304, headers);
    else exchange.send(200, { ...headers, 'content-type': contentType, 'content-length': sizeBytes });
    return;
  }

  const blob = await deps.images.openBlob(repository, digest, exchange.signal);
  const { sizeBytes } = blob;
  if (sizeBytes === 0 && digestOf(new Uint8Array(), digestAlgorithm(digest)) !== digest) {
    exchange.sendError({ status: 404, code: 'BLOB_UNKNOWN', message: 'no blob of this digest is empty' });
    return;
  }
  const answer = decideRange(findRange(exchange, etag), sizeBytes, options.maxRanges);
  switch (answer.kind) {
    case 'unsatisfiable':
      exchange.sendError({
        status: 416,
        code: 'RANGE_INVALID',
        message: 'no such range in the blob',
        headers: { 'content-range': `bytes */${sizeBytes}`, ...headers },
      });
      return;
    case 'excessive':
      exchange.sendError({
        status: 400,
        code: 'RANGE_INVALID',
        message: `more than ${options.maxRanges} ranges`,
        headers,
      });
      return;
    case 'whole':
      await sendSpans(deps, options, exchange, blob, {
        status: 200,
        headers: { ...headers, 'content-type': contentType, 'content-length': sizeBytes },
        parts: sizeBytes === 0 ? [] : [{ head: '', span: { start: 0, end: sizeBytes } }],
        tail: '',
      });
      return;
    case 'single': {
      const { start, end } = answer.span;
      await sendSpans(deps, options, exchange, blob, {
        status: 206,
        headers: {
          ...headers,
          'content-type': contentType,
          'content-length': end - start,
          'content-range': contentRange(answer.span, sizeBytes),
        },
        parts: [{ head: '', span: answer.span }],
        tail: '',
      });
      return;
    }
    case 'multiple':
      await sendSpans(deps, options, exchange, blob, multipart(answer.spans, sizeBytes, headers));
  }
}

interface SpansAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly parts: readonly { readonly head: string; readonly span: ByteSpan }[];
  readonly tail: string;
}

/** A Range is conditional on If-Range when that is there. Source: RFC 9110, 13.1.5: strong comparison, dates never match here. */
function findRange(exchange: Exchange, etag: string): string | undefined {
  const condition = exchange.header('if-range');
  return condition === undefined || condition.trim() === etag ? exchange.header('range') : undefined;
}

function contentRange({ start, end }: ByteSpan, sizeBytes: number): string {
  return `bytes ${start}-${end - 1}/${sizeBytes}`;
}

/** Source: RFC 9110, 14.6. */
function multipart(
  spans: readonly ByteSpan[],
  sizeBytes: number,
  headers: Readonly<Record<string, string>>,
): SpansAnswer {
  const boundary = randomBytes(15).toString('hex');
  const parts = spans.map((span, index) => ({
    span,
    head: `${index === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${contentType}\r\nContent-Range: ${contentRange(span, sizeBytes)}\r\n\r\n`,
  }));
  const tail = `\r\n--${boundary}--\r\n`;
  const length = parts.reduce((total, { head, span }) => total + head.length + span.end - span.start, tail.length);
  return {
    status: 206,
    headers: { ...headers, 'content-type': `multipart/byteranges; boundary=${boundary}`, 'content-length': length },
    parts,
    tail,
  };
}

/**
 * Sends the head when the first bytes are there, so that a blob nobody can give is an error and not a cut; or after a while
 * without them, so that the client sees that its request is being worked on.
 */
async function sendSpans(
  deps: BlobAnswerDeps,
  options: RegistryOptions,
  exchange: Exchange,
  blob: OpenedBlob,
  answer: SpansAnswer,
): Promise<void> {
  const { response, signal } = exchange;
  const startedMs = deps.clock.nowMs();
  const writer = new BodyWriter(deps, response, options.stallTimeoutMs, signal);
  let isHeadSent = false;
  try {
    for (const { head, span } of answer.parts) {
      const reader: RangeReader = await blob.open(span);
      try {
        const begun = writer.begin(reader, span);
        if (!isHeadSent) {
          await firstBytes(deps, options, writer, begun, signal);
          response.writeHead(answer.status, answer.headers);
          isHeadSent = true;
          const noteFirst = () => {
            deps.metrics.firstByteSeconds.observe((deps.clock.nowMs() - startedMs) / 1000, { source: blob.source });
          };
          begun.first.then(noteFirst, () => {});
          if (blob.source === 'swarm') response.flushHeaders();
        }
        if (head !== '') await writer.writeText(head);
        await writer.writeSpan(begun);
      } finally {
        await reader.close();
      }
    }
    if (!isHeadSent) response.writeHead(answer.status, answer.headers);
    response.end(answer.tail);
  } finally {
    deps.metrics.sentBytes.add(writer.sentBytes, { source: blob.source });
  }
}

async function firstBytes(
  deps: BlobAnswerDeps,
  options: RegistryOptions,
  writer: BodyWriter,
  begun: BegunSpan,
  signal: AbortSignal,
): Promise<void> {
  const late = Promise.withResolvers<void>();
  const cancel = deps.clock.schedule(options.earlyHeadersMs, late.resolve);
  try {
    await raceAbort(Promise.race([begun.first, late.promise]), signal);
  } catch (error) {
    writer.abandon(begun);
    throw error;
  } finally {
    cancel();
  }
}
