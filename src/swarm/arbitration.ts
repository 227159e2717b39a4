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
 * First one piece of each signer is read from the origin and compared; who is caught loses all its pieces, the rest stay. If
 * nobody is caught, or the origin cannot be asked for samples, everything signed by others is read from the origin by this node
 * alone. When only own readings are left and the digest is still wrong, the origin gave wrong bytes: all is read anew, a few times.
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
  const caught = await sample(deps, download, foreign, signal);
  if (caught.length === 0) return { drop: foreign.map((piece) => piece.index), distrust: [], relyOnSelf: true };
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

async function sample(
  deps: ArbitrationDeps,
  download: BlobDownload,
  foreign: readonly SignedPiece[],
  signal: AbortSignal,
): Promise<PeerId[]> {
  const samples = new Map<PeerId, SignedPiece>();
  for (const piece of foreign) {
    const known = samples.get(piece.signer);
    // The smallest piece of each signer costs the origin least.
    if (known === undefined || download.pieceBytes(piece.index) < download.pieceBytes(known.index))
      samples.set(piece.signer, piece);
  }
  const order = [...samples.values()].map((piece) => ({ piece, at: deps.random.next() })).sort((a, b) => a.at - b.at);
  for (let round = 0; round < order.length; round += samplesAtOnce) {
    const results = await Promise.all(
      order
        .slice(round, round + samplesAtOnce)
        .map(async ({ piece }) => ((await isTrue(deps, download, piece, signal)) ? undefined : piece.signer)),
    );
    const caught = results.filter((signer) => signer !== undefined);
    if (caught.length > 0) return caught;
  }
  return [];
}

/** Compares with the origin; a piece that cannot be read there counts as true, the next steps decide. */
async function isTrue(
  deps: ArbitrationDeps,
  download: BlobDownload,
  piece: SignedPiece,
  signal: AbortSignal,
): Promise<boolean> {
  const repository = download.repositories[0];
  const range = pieceRange(download.plan, piece.index);
  if (repository === undefined) return true;
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
      return true;
    }
    let filled = 0;
    for await (const chunk of body.chunks) {
      const part = chunk.subarray(0, bytes.length - filled);
      bytes.set(part, filled);
      filled += part.length;
      if (filled === bytes.length) break;
    }
  } catch (error) {
    signal.throwIfAborted();
    deps.logger.debug({ digest: download.digest, error }, 'sample cannot be read from the origin');
    return true;
  }
  return Buffer.compare(pieceHash(bytes), piece.hash) === 0;
}
