import { raceAbort } from '../lib/race-abort.ts';
import type { BlobRequest, Download, Swarm } from '../swarm/swarm.ts';

/** A config and 64 layers, more than real images have: each blob fetched costs memory and open files, and a manifest may name 10,000. */
const maxBlobsAtOnce = 65;

/**
 * Starts the blobs of an image in order: all together, or as many as may be and one more for each that ends. Returns when the last is
 * started; aborted, it starts no more, and what has begun goes on.
 */
export async function fetchInTurn(
  swarm: Pick<Swarm, 'fetch'>,
  requests: Iterable<BlobRequest> | AsyncIterable<BlobRequest>,
  onStart: (downloads: readonly Download[]) => void,
  signal: AbortSignal,
): Promise<void> {
  let fetching = 0;
  let ended = Promise.withResolvers<void>();
  const onEnd = () => {
    fetching -= 1;
    ended.resolve();
  };
  const waiting: BlobRequest[] = [];
  const start = () => {
    signal.throwIfAborted();
    if (waiting.length === 0) return;
    fetching += waiting.length;
    // Together, so that they are announced together.
    const downloads = swarm.fetch(waiting.splice(0));
    for (const download of downloads) download.done.then(onEnd, onEnd);
    onStart(downloads);
  };
  for await (const request of requests) {
    if (fetching + waiting.length >= maxBlobsAtOnce) {
      start();
      while (fetching >= maxBlobsAtOnce) {
        ended = Promise.withResolvers();
        await raceAbort(ended.promise, signal);
      }
    }
    waiting.push(request);
  }
  start();
}
