import type { Announcement, Directory } from '../discovery/directory.ts';
import type { Membership } from '../discovery/membership.ts';
import type { Logger } from '../lib/logger.ts';
import type { Store } from '../store/store.ts';

/** One directory message holds as many digests. */
const batchSize = 1000;

/**
 * Tells the fleet what an earlier life of this node left in the store. It begins when the first bootstrap round is over: announcing
 * to nobody would have to be done again. Blobs adopted late, after a lost index, are announced in a second walk.
 */
export async function reannounceHeld(
  deps: {
    readonly store: Pick<Store, 'blobs' | 'recovered'>;
    readonly images: { announceHeld(signal: AbortSignal): Promise<void> };
    readonly directory: Directory;
    readonly membership: Membership;
    readonly logger: Logger;
  },
  signal: AbortSignal,
): Promise<void> {
  const { store, images, directory, membership, logger } = deps;
  await membership.settled(signal);
  let announced = await announceAll(store, directory, signal);
  await images.announceHeld(signal);
  const before = (await store.blobs.usage()).blobs;
  await store.recovered;
  if ((await store.blobs.usage()).blobs > before) announced = await announceAll(store, directory, signal);
  if (announced > 0) logger.info({ blobs: announced }, 'announced what the store held');
}

async function announceAll(store: Pick<Store, 'blobs'>, directory: Directory, signal: AbortSignal): Promise<number> {
  let batch: Announcement[] = [];
  let count = 0;
  for await (const { digest } of store.blobs.walkBlobs()) {
    signal.throwIfAborted();
    batch.push({ digest, holding: 'complete' });
    if (batch.length < batchSize) continue;
    await directory.announce(batch, signal);
    count += batch.length;
    batch = [];
  }
  if (batch.length > 0) await directory.announce(batch, signal);
  return count + batch.length;
}
