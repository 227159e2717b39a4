import { pieceRange } from '../content/piece-plan.ts';
import type { Logger } from '../lib/logger.ts';
import type { Origin } from '../origin/origin.ts';
import type { BlobDownload } from './blob-download.ts';
import { dropBody } from './origin-requests.ts';

/** Reads one piece from the origin to compare with; undefined when it cannot be had there, or not by itself. */
export async function readSample(
  deps: { readonly origin: Origin; readonly logger: Logger },
  download: BlobDownload,
  index: number,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const { digest, sizeBytes } = download;
  const repository = download.repositories[0];
  if (repository === undefined) return undefined;
  const range = pieceRange(download.plan, index);
  const bytes = Buffer.allocUnsafeSlow(range.end - range.start);
  let filled = 0;
  try {
    const body = await deps.origin.openBlob(repository, digest, { ...range, sizeBytes }, { signal });
    if (body.isWhole && bytes.length < sizeBytes) {
      await dropBody(body);
      return undefined;
    }
    for await (const chunk of body.chunks) {
      const part = chunk.subarray(0, bytes.length - filled);
      bytes.set(part, filled);
      filled += part.length;
      if (filled === bytes.length) break;
    }
  } catch (error) {
    signal.throwIfAborted();
    deps.logger.debug({ digest, error }, 'sample cannot be read from the origin');
    return undefined;
  }
  return filled === bytes.length ? bytes : undefined;
}
