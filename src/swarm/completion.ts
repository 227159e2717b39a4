import type { PeerId } from '../content/peer-id.ts';
import type { Directory } from '../discovery/directory.ts';
import { isCode, toError } from '../lib/errors.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';
import { type ArbitrationDeps, arbitrate, provenLies } from './arbitration.ts';
import type { Ban } from './bans.ts';
import type { BlobDownload } from './blob-download.ts';
import { SwarmError } from './errors.ts';
import type { MemberTalk } from './member-talk.ts';
import type { Scheduler } from './schedule/scheduler.ts';

/** How a download ends: all pieces held -> digest verified -> committed and announced; or arbitration and on; or failure. */
export interface CompletionDeps extends ArbitrationDeps {
  readonly directory: Directory;
  readonly scheduler: Scheduler;
  readonly talk: MemberTalk;
  readonly tasks: TaskGroup;
  readonly ban: (peer: PeerId, reason: Ban['reason'], evidence: string) => void;
  /** Takes the ended download out of the books. */
  readonly onEnd: (download: BlobDownload) => void;
  readonly decideSoon: () => void;
}

/** Verifies and commits in a task of its own. */
export function finishDownload(deps: CompletionDeps, download: BlobDownload): void {
  deps.tasks.run(async (signal) => {
    try {
      const actual = await download.verify(signal);
      if (actual !== download.digest) {
        await settleDispute(deps, download, actual, signal);
        return;
      }
      for (const { signer, evidence } of provenLies(download)) deps.ban(signer, 'signed wrong piece', evidence);
      await download.commit(actual);
    } catch (error) {
      await failDownload(deps, download, error);
      return;
    }
    deps.talk.tell(download.digest, deps.talk.stateOf(download, false));
    deps.onEnd(download);
    await deps.directory.announce([{ digest: download.digest, holding: 'complete' }], signal);
  });
}

async function settleDispute(
  deps: CompletionDeps,
  download: BlobDownload,
  actual: Digest,
  signal: AbortSignal,
): Promise<void> {
  const verdict = await arbitrate(deps, download, actual, signal);
  for (const signer of verdict.distrust) download.distrusted.add(signer);
  await download.dropPieces(verdict.drop);
  deps.scheduler.distrust(download.digest, verdict.drop, verdict.distrust);
  if (verdict.relyOnSelf) {
    download.isSelfReliant = true;
    deps.scheduler.relyOnSelf(download.digest);
  }
  // Members stop asking for what this node does not stand for any more, and say what they hold themselves.
  deps.talk.restate(download, !verdict.relyOnSelf);
  deps.decideSoon();
}

/** Ends a download with an error; its pieces stay in the ingest for the next attempt. */
export async function failDownload(deps: CompletionDeps, download: BlobDownload, error: unknown): Promise<void> {
  if (download.hasEnded) return;
  const cause = toError(error);
  if (isCode(cause, 'SWARM_UNOBTAINABLE', 'SWARM_DIGEST_MISMATCH', 'SWARM_STOPPED')) {
    await download.fail(cause as SwarmError);
  } else {
    if (!deps.tasks.signal.aborted) deps.logger.error({ digest: download.digest, error: cause }, 'download failed');
    const details = { digest: download.digest };
    await download.fail(
      new SwarmError('SWARM_UNOBTAINABLE', `cannot store the blob: ${cause.message}`, { cause, details }),
    );
  }
  // Its pieces are not served while nobody fetches; others must not wait for them or for its turns.
  deps.talk.tell(download.digest, { kind: 'leave', digest: download.digest });
  deps.onEnd(download);
  if (!deps.tasks.signal.aborted) await deps.directory.withdraw([download.digest], deps.tasks.signal).catch(() => {});
}
