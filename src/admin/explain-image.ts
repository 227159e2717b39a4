import type { PullRequest } from '../image/images.ts';
import type { Digest } from '../oci/digest.ts';
import type { Transfer } from '../swarm/swarm.ts';
import type { ExplainAnswer } from './api.ts';
import { AdminError } from './errors.ts';
import { explainTransfers, findLatestPull } from './explain.ts';

/** What the explanation of an image is put together from. */
export interface ExplainDeps {
  /** Downloads of this life, running or ended lately. */
  readonly transfers: () => readonly Transfer[];
  /** The latest transfer of a blob that this or an earlier life remembers. */
  readonly findEarlierTransfer: (digest: Digest) => Transfer | undefined;
  /** The blobs of an image that this node has seen. */
  readonly findImageBlobs: (
    request: PullRequest,
  ) => Promise<
    | { readonly digest: Digest; readonly blobs: readonly { readonly digest: Digest; readonly sizeBytes: number }[] }
    | undefined
  >;
}

/** Says of the latest pull of an image why it took as long as it did. @throws ADMIN_NOT_FOUND */
export async function explainImage(deps: ExplainDeps, request: PullRequest, nowMs: number): Promise<ExplainAnswer> {
  const image = await deps.findImageBlobs(request);
  if (image === undefined) throw new AdminError('ADMIN_NOT_FOUND', 'this node has not seen that image; pull it first');
  const latest = new Map<Digest, Transfer>();
  for (const transfer of deps.transfers()) {
    // Found complete by a download that came too late: not how it got here.
    if (transfer.state === 'complete' && transfer.bytes.origin + transfer.bytes.peer === 0) continue;
    const known = latest.get(transfer.digest);
    if (known === undefined || known.startedAtMs < transfer.startedAtMs) latest.set(transfer.digest, transfer);
  }
  const known: Transfer[] = [];
  for (const { digest } of image.blobs) {
    const transfer = latest.get(digest) ?? deps.findEarlierTransfer(digest);
    if (transfer !== undefined) known.push(transfer);
  }
  const pull = new Set(findLatestPull(known, nowMs));
  const transfers = known.filter((transfer) => pull.has(transfer));
  const fetched = new Set(transfers.map(({ digest }) => digest));
  return {
    digest: image.digest,
    explanation: explainTransfers(transfers, nowMs),
    blobs: transfers.map((transfer) => ({ transfer, explanation: explainTransfers([transfer], nowMs) })),
    heldBefore: image.blobs
      .filter(({ digest }) => !fetched.has(digest))
      .map(({ digest, sizeBytes }) => ({ digest, sizeBytes })),
  };
}
