import type { Clock } from '../lib/clock.ts';
import type { BlobDownload } from './blob-download.ts';
import type { ScheduleOptions } from './schedule/options.ts';
import type { Scheduler } from './schedule/scheduler.ts';
import { findWait } from './schedule/waiting.ts';
import type { WaitKind } from './swarm.ts';

export interface ObserveDeps {
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  /** The download limit of this node's own lets nothing more be asked for just now. */
  readonly isHeldBack: () => boolean;
}

/** Takes down in the account of each download what it waits for, where that was not done for so long. Changes no decision. */
export function observeDownloads(
  deps: ObserveDeps,
  downloads: Iterable<BlobDownload>,
  options: ScheduleOptions,
  afterMs: number,
): void {
  const nowMs = deps.clock.nowMs();
  const isHeldBack = deps.isHeldBack();
  for (const download of downloads) {
    if (download.account.waitAgeMs < afterMs) continue;
    const state = deps.scheduler.downloads.get(download.digest);
    if (state === undefined) continue;
    const wait = findWait(state, nowMs, options);
    download.observe(isHeldBack && ofBytes.includes(wait.for) ? { for: 'ownRate' } : wait);
  }
}

/** What a node that may not ask for more looks as if it waited for. */
const ofBytes: readonly WaitKind[] = ['origin', 'silentOrigin', 'peers', 'queue'];

/** Counts what came in for a request since it was last heard of. */
export function countProgress(
  downloads: ReadonlyMap<string, BlobDownload>,
  scheduler: Scheduler,
  requestId: number,
  receivedBytes: number,
): void {
  const request = scheduler.requests.get(requestId);
  if (request === undefined) return;
  const download = downloads.get(request.digest);
  download?.account.received(request.peer, receivedBytes - request.receivedBytes);
  scheduler.requestProgress(requestId, receivedBytes);
}
