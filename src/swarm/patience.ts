import type { Clock } from '../lib/clock.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobDownload } from './blob-download.ts';
import { describeMissing } from './describe-missing.ts';
import { SwarmError } from './errors.ts';
import type { Scheduler } from './schedule/scheduler.ts';

/**
 * Ends downloads that nothing can move: at once when there is nothing to wait for, after the patience when there are pieces or
 * members, since a peer or the origin may come back meanwhile.
 */
export class Patience {
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  readonly #patienceMs: number;
  readonly #blockedSinceMs = new Map<Digest, number>();

  constructor(deps: { clock: Clock; scheduler: Scheduler }, options: { patienceMs: number }) {
    this.#clock = deps.clock;
    this.#scheduler = deps.scheduler;
    this.#patienceMs = options.patienceMs;
  }

  /** Starts the wait over: a piece arrived, or the download ended. */
  renew(digest: Digest): void {
    this.#blockedSinceMs.delete(digest);
  }

  /** Returns the downloads whose time is up, each with what it fails with. */
  expired(downloads: Iterable<BlobDownload>): { download: BlobDownload; error: SwarmError }[] {
    const nowMs = this.#clock.nowMs();
    const expired: { download: BlobDownload; error: SwarmError }[] = [];
    for (const download of downloads) {
      const blockage = this.#scheduler.findBlockage(download.digest);
      const state = this.#scheduler.downloads.get(download.digest);
      if (blockage === undefined || state === undefined) {
        this.#blockedSinceMs.delete(download.digest);
        download.lacking = undefined;
        continue;
      }
      // Said while it waits, too: somebody may look for a node that has it.
      const pieces = `${blockage.missingPieces} of ${download.plan.pieceCount} pieces`;
      download.lacking = `${pieces}: no peer gives them (missing: ${describeMissing(state)})`;
      const sinceMs = this.#blockedSinceMs.get(download.digest) ?? nowMs;
      this.#blockedSinceMs.set(download.digest, sinceMs);
      if (nowMs - sinceMs < (this.#isHopeful(download) ? this.#patienceMs : 0)) continue;
      const missing = `${download.lacking}; ${download.missing ?? 'no origin'}`;
      const { digest, originError } = download;
      const refused = originError === undefined ? {} : { originError };
      const details = { digest, missingPieces: blockage.missingPieces, ...refused };
      expired.push({ download, error: new SwarmError('SWARM_UNOBTAINABLE', missing, { details }) });
    }
    return expired;
  }

  #isHopeful(download: BlobDownload): boolean {
    if (download.heldPieces.size > 0) return true;
    const members = this.#scheduler.downloads.get(download.digest)?.members.values() ?? [];
    // Members with nothing in hand and no origin to ask wait as vainly as this node.
    return [...members].some((member) => member.canAskOrigin || member.have.count > 0);
  }
}
