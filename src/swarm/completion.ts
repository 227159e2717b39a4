import type { PeerId } from '../content/peer-id.ts';
import type { SignedPiece } from '../content/signed-piece.ts';
import type { Directory } from '../discovery/directory.ts';
import { isCode, toError } from '../lib/errors.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';
import { type ArbitrationDeps, arbitrate, provenWrong } from './arbitration.ts';
import type { Ban } from './bans.ts';
import type { BlobDownload } from './blob-download.ts';
import type { CompletedBlobs } from './completed-blobs.ts';
import type { Disputes } from './disputes.ts';
import { SwarmError } from './errors.ts';
import type { MemberTalk } from './member-talk.ts';
import type { ProvenSigners } from './proven-signers.ts';
import type { Scheduler } from './schedule/scheduler.ts';
import type { Strikes } from './strikes.ts';

/** How a download ends: all pieces held -> digest verified -> committed and announced; or arbitration and on; or failure. */
export interface CompletionDeps extends ArbitrationDeps {
  readonly directory: Directory;
  readonly scheduler: Scheduler;
  readonly talk: MemberTalk;
  readonly disputes: Disputes;
  readonly strikes: Strikes;
  readonly proven: ProvenSigners;
  readonly completed: CompletedBlobs;
  readonly tasks: TaskGroup;
  readonly ban: (peer: PeerId, reason: Ban['reason'], evidence: string) => void;
  /** Takes the ended download out of the books. */
  readonly onEnd: (download: BlobDownload) => void;
  readonly decideSoon: () => void;
}

/** Verifies and commits in a task of its own. */
export function finishDownload(deps: CompletionDeps, download: BlobDownload): void {
  deps.tasks.run(async (signal) => {
    const { epoch } = download;
    try {
      const actual = await download.verify(signal);
      // Pieces were thrown away meanwhile: this begins anew when they have come back.
      if (download.epoch !== epoch) return;
      if (actual !== download.digest) {
        await settleDispute(deps, download, actual, signal);
        return;
      }
      judgeSigners(deps, download);
      await download.commit(actual);
    } catch (error) {
      if (download.epoch !== epoch && !signal.aborted && isCode(error, 'CONTENT_CLOSED')) return;
      await failDownload(deps, download, error);
      return;
    }
    deps.talk.tell(download.digest, deps.talk.stateOf(download, false));
    deps.onEnd(download);
    deps.completed.add(download.digest);
  });
}

async function settleDispute(
  deps: CompletionDeps,
  download: BlobDownload,
  actual: Digest,
  signal: AbortSignal,
): Promise<void> {
  const members = deps.scheduler.downloads.get(download.digest)?.members.keys() ?? [];
  const check = (piece: SignedPiece) => deps.disputes.check(download, piece, signal);
  const verdict = await arbitrate(deps, download, actual, members, check, signal);
  if (verdict.kind === 'found') return;
  for (const index of verdict.drop) {
    const piece = download.heldPieces.get(index);
    if (piece !== undefined) download.suspects.add(piece);
  }
  await download.dropPieces(verdict.drop);
  deps.scheduler.distrust(download.digest, verdict.drop, []);
  download.isSelfReliant = true;
  deps.scheduler.relyOnSelf(download.digest);
  // Members stop asking for what this node does not stand for any more.
  deps.talk.restate(download, false);
  deps.decideSoon();
}

/** The digest proves who signed wrong pieces. */
function judgeSigners(deps: CompletionDeps, download: BlobDownload): void {
  const { digest } = download;
  const members = deps.scheduler.downloads.get(digest)?.members;
  const proven = provenWrong(download, deps.clock.nowMs(), (signer) => members?.has(signer) === true);
  const wrong = proven.filter(({ signer }) => signer !== deps.identity.peerId);
  const right = [...download.heldPieces.values()].map(({ signer }) => signer);
  deps.proven.judge(right, new Set(wrong.map(({ signer }) => signer)));
  for (const { signer, evidence, isBanned } of deps.strikes.judge(digest, wrong)) {
    if (isBanned) deps.ban(signer, 'signed wrong piece', evidence);
    else
      deps.logger.warn(
        { peer: signer, digest, evidence },
        'a signer was wrong once: it is suspect, the next time it is banned',
      );
  }
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
