import { type Clock, delay } from '../lib/clock.ts';
import { isAbort } from '../lib/errors.ts';
import { raceAbort } from '../lib/race-abort.ts';
import type { Digest } from '../oci/digest.ts';
import type { PeerNetwork } from '../peer/peer-network.ts';
import type { BlobDownload } from './blob-download.ts';
import { type CompletionDeps, failDownload, finishDownload } from './completion.ts';
import type { MemberTalk } from './member-talk.ts';
import type { SwarmOptions } from './options.ts';
import type { Lag } from './schedule/lag.ts';

/**
 * How downloads begin: ingests opened -> known to the scheduler, so that pieces of peers may come -> announced to the directory,
 * whose providers are greeted -> those heard out, or their time is up -> the origin may be asked.
 */
export interface StartDeps {
  readonly completion: CompletionDeps;
  readonly network: PeerNetwork;
  readonly clock: Clock;
  readonly onTransferStart?: () => void;
}

export async function startDownloads(
  deps: StartDeps,
  downloads: readonly BlobDownload[],
  options: SwarmOptions,
  signal: AbortSignal,
): Promise<void> {
  const { clock, network, completion } = deps;
  const { scheduler, talk, directory, logger, decideSoon } = completion;
  const opened = await Promise.all(downloads.map((download) => open(completion, download)));
  const fetching = downloads.filter((_, at) => opened[at] === true);
  for (const download of fetching) add(deps, download, options);
  decideSoon();
  if (fetching.length === 0) return;
  const { directoryTimeoutMs, settleMs, settleMaxMs } = options;
  const askedMs = clock.nowMs();
  deps.onTransferStart?.();
  const timeout = AbortSignal.any([signal, AbortSignal.timeout(directoryTimeoutMs)]);
  try {
    const entries = fetching.map(({ digest }) => ({ digest, holding: 'fetching' as const }));
    const found = await directory.announce(entries, timeout);
    for (const [digest, providers] of found) for (const provider of providers) talk.meet(digest, provider);
  } catch (error) {
    signal.throwIfAborted();
    if (!isAbort(error) && !timeout.aborted) logger.debug({ error }, 'the directory gave no answer');
  }
  for (const download of fetching) download.mark('providers');
  if (network.peers().length > 0) {
    // Where the directory takes its time, those who start at the same moment are held up as well.
    await delay(clock, Math.min(settleMaxMs, Math.max(settleMs, clock.nowMs() - askedMs)), signal);
    const digests = fetching.map(({ digest }) => digest);
    await hearOut({ clock, talk, lag: scheduler.lag }, digests, settleMaxMs, signal);
  }
  for (const { digest } of fetching) scheduler.releaseOrigin(digest, 0);
  decideSoon();
}

export interface HearOutDeps {
  readonly clock: Clock;
  readonly talk: Pick<MemberTalk, 'isHeardOut' | 'onHeardOut'>;
  readonly lag: Pick<Lag, 'moreMs'>;
}

/** Waits until all who were greeted have had their say or their time is up: a node that runs late hears late of them. */
export async function hearOut(
  { clock, talk, lag }: HearOutDeps,
  digests: readonly Digest[],
  limitMs: number,
  signal: AbortSignal,
): Promise<void> {
  const isQuiet = () => digests.every((digest) => talk.isHeardOut(digest));
  if (isQuiet()) return;
  const startedMs = clock.nowMs();
  const end = Promise.withResolvers<void>();
  const endAfter = (waitMs: number): (() => void) =>
    clock.schedule(waitMs, () => {
      const restMs = startedMs + limitMs + lag.moreMs - clock.nowMs();
      if (restMs > 0) cancelTimer = endAfter(restMs);
      else end.resolve();
    });
  let cancelTimer = endAfter(limitMs);
  const stopListening = talk.onHeardOut(() => {
    if (isQuiet()) end.resolve();
  });
  try {
    await raceAbort(end.promise, signal);
  } finally {
    stopListening();
    cancelTimer();
  }
}

async function open(completion: CompletionDeps, download: BlobDownload): Promise<boolean> {
  try {
    if (await download.open()) return true;
    completion.onEnd(download);
  } catch (error) {
    await failDownload(completion, download, error);
  }
  return false;
}

function add(deps: StartDeps, download: BlobDownload, options: SwarmOptions): void {
  const { completion } = deps;
  const { scheduler, origin, decideSoon } = completion;
  const { digest } = download;
  const { directoryTimeoutMs, settleMs, settleMaxMs } = options;
  const isLone = deps.network.peers().length === 0;
  scheduler.addDownload({
    digest,
    sizeBytes: download.sizeBytes,
    originDelayMs: isLone ? 0 : directoryTimeoutMs + settleMs + settleMaxMs,
    canAskOrigin: download.repositories.some(({ namespace }) => origin.allows(namespace)),
    held: download.heldPieces.keys(),
  });
  download.onHeld = (piece) => completion.disputes.stored(download, piece);
  download.onReader = (reader, piece) => {
    scheduler.readerAt(digest, reader, piece);
    decideSoon();
  };
  // Readers that came before now say again where they wait.
  download.notify();
  if (download.heldPieces.size === download.plan.pieceCount) finishDownload(completion, download);
}
