import { OriginError } from './errors.ts';
import { readContentLength, readContentRange } from './http/content-range.ts';
import type { HttpResponse } from './http/http-client.ts';
import type { ByteRange } from './origin.ts';

/** Which bytes of the blob a response holds. */
export interface BlobAnswer {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Range was asked for and not heeded. */
  readonly isWhole: boolean;
}

/**
 * Reads from the head which bytes follow, and refuses what cannot be bytes of this blob: an encoded or multipart body, a page of
 * HTML with status 200, another size, other bytes than asked for.
 * @throws ORIGIN_BAD_ANSWER
 */
export function readBlobAnswer(response: HttpResponse, asked: ByteRange): BlobAnswer {
  const { headers, status } = response;
  const refuse = (message: string, details: Record<string, unknown> = {}) =>
    new OriginError('ORIGIN_BAD_ANSWER', message, { details: { ...details, status } });

  refuseForeignBody(response);
  const contentLength = readContentLength(headers['content-length']);
  if (status === 200) {
    if (contentLength !== undefined && contentLength !== asked.sizeBytes) {
      throw refuse('the blob has another size', { expectedBytes: asked.sizeBytes, actualBytes: contentLength });
    }
    return { start: 0, end: asked.sizeBytes, isWhole: asked.start > 0 || asked.end < asked.sizeBytes };
  }
  const range = readContentRange(headers['content-range']);
  if (range === undefined) throw refuse('a partial answer does not say which part it is');
  if (range.sizeBytes !== undefined && range.sizeBytes !== asked.sizeBytes) {
    throw refuse('the blob has another size', { expectedBytes: asked.sizeBytes, actualBytes: range.sizeBytes });
  }
  // RFC 9110 section 15.3.7 lets a server send less than asked for; the rest is then asked for again.
  const isPart = range.start === asked.start && range.end <= asked.end;
  const isLengthRight = contentLength === undefined || contentLength === range.end - range.start;
  if (!isPart || !isLengthRight) throw refuse('a partial answer holds other bytes than asked for');
  return { start: range.start, end: range.end, isWhole: false };
}

/** Refuses a body that is not the stored bytes. @throws ORIGIN_BAD_ANSWER */
export function refuseForeignBody({ headers }: HttpResponse): void {
  const encoding = headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
  if (encoding !== 'identity' && encoding !== '') {
    throw new OriginError('ORIGIN_BAD_ANSWER', 'the origin encodes what must come as stored', {
      details: { encoding },
    });
  }
  const type = headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? '';
  if (type === 'text/html' || type.startsWith('multipart/')) {
    throw new OriginError('ORIGIN_BAD_ANSWER', 'the origin sends a page where bytes were asked for', {
      details: { type },
    });
  }
}
