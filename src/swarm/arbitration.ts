import type { PeerId } from '../content/peer-id.ts';
import { pieceHash } from '../content/piece-hash.ts';
import { pieceRange } from '../content/piece-plan.ts';
import type { NodeIdentity, SignedPiece } from '../content/signed-piece.ts';
import type { Random } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { Digest } from '../oci/digest.ts';
import type { Origin } from '../origin/origin.ts';
import type { BlobDownload } from './blob-download.ts';
import { SwarmError } from './errors.ts';
import { dropBody } from './origin-requests.ts';
import { hex } from './peer-requests.ts';

/**
 * All pieces fit their signed hashes and the digest is wrong: somebody who signed lied, or the origin gave wrong bytes.
 * Pieces of each signer are read from the origin and compared, in rounds of one, two, four, ... of each, until somebody is
 * caught: who lies often is found with the first, and who lied once is found all the same, at the price of the bytes that would be
 * read otherwise. Who is caught loses all its pieces, the rest stay. If the origin cannot be asked, everything signed by others is
 * read from it by this node alone as soon as it can; if nobody lied, the own readings are what is wrong. When only own readings are left and the digest is still wrong, the origin gave wrong bytes: all is read anew, a few times.
 * A signer is banned only once the digest fits: then its signature under another hash is proof.
 */
export interface ArbitrationDeps {
  readonly origin: Origin;
  readonly identity: NodeIdentity;
  readonly random: Random;
  readonly logger: Logger;
}

export interface Verdict {
  /** Pieces to fetch again. */
  readonly drop: readonly number[];
  /** Signers not to be believed for this blob. */
  readonly distrust: readonly PeerId[];
  /** Whether from now on only this node's own readings count. */
  readonly relyOnSelf: boolean;
}

// Samples at once: enough to meet one of two liars among eight with the first round most of the time.
const samplesAtOnce = 4;
// Wrong digests of own readings alone: transient faults of an origin or its proxy heal, a wrong blob does not.
const maxOwnReadings = 3;

/** @throws SWARM_DIGEST_MISMATCH when the origin itself has other bytes under this digest */
export async function arbitrate(
  deps: ArbitrationDeps,
  download: BlobDownload,
  actual: Digest,
  signal: AbortSignal,
): Promise<Verdict> {
  const self = deps.identity.peerId;
  const pieces = [...download.heldPieces.values()];
  const foreign = pieces.filter((piece) => piece.signer !== self);
  const mismatches = download.countMismatch(foreign);
  deps.logger.warn({ digest: download.digest, actual, mismatches, foreignPieces: foreign.length }, 'digest is wrong');
  if (foreign.length === 0) {
    // Nothing to read again in an empty blob.
    if (pieces.length === 0 || download.countOwnMismatch() >= maxOwnReadings) {
      throw new SwarmError('SWARM_DIGEST_MISMATCH', 'the origin gives bytes with another digest', {
        details: { digest: download.digest, actual },
      });
    }
    return { drop: pieces.map((piece) => piece.index), distrust: [], relyOnSelf: true };
  }
  const caught = await audit(deps, download, foreign, signal);
  if (caught === undefined) return { drop: foreign.map((piece) => piece.index), distrust: [], relyOnSelf: true };
  // Nothing of others differs from the origin: what this node read itself does, or the origin changes its mind.
  if (caught.length === 0) return { drop: pieces.map((piece) => piece.index), distrust: [], relyOnSelf: true };
  const drop = foreign.filter((piece) => caught.includes(piece.signer)).map((piece) => piece.index);
  return { drop, distrust: caught, relyOnSelf: false };
}

/** Once the digest is right: every thrown-away piece that was signed under another hash is its signer's lie. */
export function provenLies(download: BlobDownload): { signer: PeerId; evidence: string }[] {
  const lies: { signer: PeerId; evidence: string }[] = [];
  for (const suspect of download.suspects.values()) {
    const proven = download.heldPieces.get(suspect.index);
    if (proven === undefined || Buffer.compare(proven.hash, suspect.hash) === 0) continue;
    const claim = `signed ${hex(suspect.hash)} (signature ${hex(suspect.signature)}), is ${hex(proven.hash)}`;
    lies.push({ signer: suspect.signer, evidence: `${download.digest} piece ${suspect.index}: ${claim}` });
  }
  return lies;
}

/** Returns the signers caught first, nobody when all pieces are as the origin has them, undefined when it cannot be asked. */
async function audit(
  deps: ArbitrationDeps,
  download: BlobDownload,
  foreign: readonly SignedPiece[],
  signal: AbortSignal,
): Promise<PeerId[] | undefined> {
  const unread = new Map<PeerId, SignedPiece[]>();
  for (const piece of foreign) unread.set(piece.signer, [...(unread.get(piece.signer) ?? []), piece]);
  // The smallest piece of each signer costs the origin least; the others in an order that no liar can know.
  for (const [signer, pieces] of unread) {
    const drawn = pieces.map((piece) => ({ piece, at: deps.random.next() })).sort((a, b) => a.at - b.at);
    const smallest = drawn.reduce((one, other) => (bytesOf(download, other) < bytesOf(download, one) ? other : one));
    unread.set(signer, [smallest.piece, ...drawn.filter((other) => other !== smallest).map(({ piece }) => piece)]);
  }
  for (let perSigner = 1; unread.size > 0; perSigner *= 2) {
    const samples: SignedPiece[] = [];
    for (const [signer, pieces] of unread) {
      samples.push(...pieces.splice(0, perSigner));
      if (pieces.length === 0) unread.delete(signer);
    }
    const verdict = await compare(deps, download, samples, signal);
    if (verdict === undefined || verdict.length > 0) return verdict;
  }
  return [];
}

const bytesOf = (download: BlobDownload, { piece }: { piece: SignedPiece }) => download.pieceBytes(piece.index);

/** A few at once; stops with the first who are caught. */
async function compare(
  deps: ArbitrationDeps,
  download: BlobDownload,
  samples: readonly SignedPiece[],
  signal: AbortSignal,
): Promise<PeerId[] | undefined> {
  const order = samples.map((piece) => ({ piece, at: deps.random.next() })).sort((a, b) => a.at - b.at);
  for (let at = 0; at < order.length; at += samplesAtOnce) {
    const some = order.slice(at, at + samplesAtOnce);
    const results = await Promise.all(some.map(({ piece }) => isTrue(deps, download, piece, signal)));
    const caught = some.filter((_, index) => results[index] === false).map(({ piece }) => piece.signer);
    if (caught.length > 0) return [...new Set(caught)];
    if (results.includes(undefined)) return undefined;
  }
  return [];
}

/** Compares with the origin; undefined when the piece cannot be read there. */
async function isTrue(
  deps: ArbitrationDeps,
  download: BlobDownload,
  piece: SignedPiece,
  signal: AbortSignal,
): Promise<boolean | undefined> {
  const repository = download.repositories[0];
  const range = pieceRange(download.plan, piece.index);
  if (repository === undefined) return undefined;
  const bytes = Buffer.alloc(range.end - range.start);
  try {
    const body = await deps.origin.openBlob(
      repository,
      download.digest,
      { ...range, sizeBytes: download.sizeBytes },
      { signal },
    );
    if (body.isWhole && range.start > 0) {
      await dropBody(body);
      return undefined;
    }
    let filled = 0;
    for await (const chunk of body.chunks) {
      const part = chunk.subarray(0, bytes.length - filled);
      bytes.set(part, filled);
      filled += part.length;
      if (filled === bytes.length) break;
    }
    if (filled < bytes.length) return undefined;
  } catch (error) {
    signal.throwIfAborted();
    deps.logger.debug({ digest: download.digest, error }, 'sample cannot be read from the origin');
    return undefined;
  }
  return Buffer.compare(pieceHash(bytes), piece.hash) === 0;
}
