import type { Clock } from '../lib/clock.ts';
import type { BlobDownload } from './blob-download.ts';
import type { ScheduleOptions } from './schedule/options.ts';
import type { Scheduler } from './schedule/scheduler.ts';
import { findWait } from './schedule/waiting.ts';

/** Takes down in the account of each download what it waits for, where that was not done for so long. Changes no decision. */
export function observeDownloads(
  deps: { readonly scheduler: Scheduler; readonly clock: Clock },
  downloads: Iterable<BlobDownload>,
  options: ScheduleOptions,
  afterMs: number,
): void {
  const nowMs = deps.clock.nowMs();
  for (const download of downloads) {
    if (download.account.waitAgeMs < afterMs) continue;
    const state = deps.scheduler.downloads.get(download.digest);
    if (state !== undefined) download.observe(findWait(state, nowMs, options));
  }
}

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
