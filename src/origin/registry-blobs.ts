import type { Digest } from '../oci/digest.ts';
import { refuseForeignBody } from './blob-answer.ts';
import { BlobChunks } from './blob-chunks.ts';
import { OriginError } from './errors.ts';
import { readContentLength, readContentRange } from './http/content-range.ts';
import type { ByteRange, OriginBody } from './origin.ts';
import type { OriginSession, SessionRequest } from './session.ts';

/** Asks for a blob's size by HEAD, or by its first byte where HEAD does not tell. */
export async function statBlob(
  session: OriginSession,
  repository: string,
  digest: Digest,
  signal: AbortSignal,
): Promise<{ sizeBytes: number }> {
  const request = { operation: 'stat', repository, path: `/blobs/${digest}` } as const;
  const fromHead = await session.exchange(
    // A redirect may be signed for GET alone; its 403 is then no answer about the blob.
    { ...request, method: 'HEAD', accepts: [400, 403, 405, 501] },
    signal,
    async (response) => {
      if (response.status !== 200) return undefined;
      refuseForeignBody(response);
      return readContentLength(response.headers['content-length']);
    },
  );
  if (fromHead !== undefined) return { sizeBytes: fromHead };

  return await session.exchange(
    { ...request, method: 'GET', headers: { range: 'bytes=0-0' } },
    signal,
    async (response) => {
      refuseForeignBody(response);
      const { headers, status } = response;
      const sizeBytes =
        status === 206
          ? readContentRange(headers['content-range'])?.sizeBytes
          : readContentLength(headers['content-length']);
      if (sizeBytes === undefined)
        throw new OriginError('ORIGIN_BAD_ANSWER', 'the origin does not tell the size of a blob');
      return { sizeBytes };
    },
  );
}

/** Opens a range of a blob; the body holds one of the origin's slots until it ends. */
export async function openBlob(
  session: OriginSession,
  repository: string,
  digest: Digest,
  range: ByteRange,
  signal: AbortSignal,
): Promise<OriginBody> {
  // No range can name zero bytes, and there is nothing to ask for.
  if (range.start >= range.end) return { isWhole: false, chunks: nothing() };
  const request = (asked: ByteRange) => {
    const isAll = asked.start === 0 && asked.end === asked.sizeBytes;
    const message: SessionRequest = {
      operation: 'blob',
      method: 'GET',
      repository,
      path: `/blobs/${digest}`,
      headers: { accept: '*/*', ...(isAll ? {} : { range: `bytes=${asked.start}-${asked.end - 1}` }) },
      keepsRedirect: true,
    };
    return session.open(message, signal);
  };
  const release = await session.acquireBody(signal);
  try {
    const source = {
      request,
      release,
      pass: (bytes: number) => session.pass(bytes, signal),
      stepBytes: session.stepBytes,
      beforeResume: (attempt: number) => session.beforeResume(attempt, signal),
    };
    const chunks = new BlobChunks(source, range, await request(range), signal);
    return { isWhole: chunks.isWhole, chunks };
  } catch (error) {
    release();
    throw error;
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
