import type { PeerId } from '../content/peer-id.ts';
import type { NodeIdentity, SignedPiece } from '../content/signed-piece.ts';
import { type Clock, delay, type Random } from '../lib/clock.ts';
import { hex } from '../lib/hex.ts';
import type { Logger } from '../lib/logger.ts';
import type { Digest } from '../oci/digest.ts';
import type { Origin } from '../origin/origin.ts';
import { AuditPlan } from './audit-plan.ts';
import type { BlobDownload } from './blob-download.ts';
import { SwarmError } from './errors.ts';
import { rendezvousWeight } from './schedule/rendezvous.ts';
import type { WrongPiece } from './strikes.ts';

/**
 * All pieces fit their signed hashes and the digest is wrong: somebody who signed lied, or the origin gave wrong bytes to somebody.
 * Pieces are read from the origin once more and compared, in rounds shared out among the members, until one proves wrong, here or at
 * another member that says so: then the pieces of that signer are fetched again, or the one that this node itself read wrongly is
 * put right, and the digest is computed anew. If the origin cannot be asked, everything signed by others is read from it by this
 * node alone as soon as it can. When every piece is as the origin has it, the origin has another blob.
 * A signer is judged only once the digest fits: then its signature under another hash is proof.
 */
export interface ArbitrationDeps {
  readonly origin: Origin;
  readonly identity: NodeIdentity;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export type Verdict =
  /** Pieces were thrown away or put right meanwhile. */
  | { readonly kind: 'found' }
  /** Nobody can tell: these are to be read from the origin by this node alone. */
  | { readonly kind: 'relyOnSelf'; readonly drop: readonly number[] };

/** `moot`: the piece is not held under this hash any more. */
export type Finding = 'right' | 'wrong' | 'unreadable' | 'moot';

// Wrong digests of own readings alone that could not be compared: transient faults of an origin heal, a wrong blob does not.
const maxOwnReadings = 3;
// For what another member finds at the same time to be heard before more is read.
const roundPauseMs = 300;

/** @throws SWARM_DIGEST_MISMATCH when the origin itself has other bytes under this digest */
export async function arbitrate(
  deps: ArbitrationDeps,
  download: BlobDownload,
  actual: Digest,
  members: Iterable<PeerId>,
  check: (piece: SignedPiece) => Promise<Finding>,
  signal: AbortSignal,
): Promise<Verdict> {
  const self = deps.identity.peerId;
  const { digest, epoch } = download;
  const pieces = [...download.heldPieces.values()];
  const foreign = pieces.filter((piece) => piece.signer !== self);
  const mismatches = download.countMismatch();
  deps.logger.warn({ digest, actual, mismatches, foreignPieces: foreign.length }, 'digest is wrong');
  const ring = ringOf(digest, [self, ...members, ...pieces.map(signerOf)]);
  const plan = new AuditPlan(self, pieces, ring, deps.random);
  for (let round = plan.next(); round.length > 0; round = plan.next()) {
    const findings = await Promise.all(round.map(check));
    if (download.epoch !== epoch) return { kind: 'found' };
    if (findings.every((finding) => finding === 'unreadable')) {
      if (foreign.length > 0) return { kind: 'relyOnSelf', drop: foreign.map(({ index }) => index) };
      if (download.countOwnMismatch() >= maxOwnReadings) break;
      return { kind: 'relyOnSelf', drop: pieces.map(({ index }) => index) };
    }
    if (ring.length > 1) await delay(deps.clock, roundPauseMs * (0.5 + deps.random.next()), signal);
    if (download.epoch !== epoch) return { kind: 'found' };
  }
  const details = { digest, actual };
  throw new SwarmError('SWARM_DIGEST_MISMATCH', 'the origin gives bytes with another digest', { details });
}

// For reading the piece again, in a line behind others, at an origin that is busy or rests for a moment.
const takeBackWithinMs = 5000;

/**
 * Once the digest is right: every thrown-away piece that was signed under another hash is its signer's fault. Who stood by it although it
 * was shown another version, and was there all the time (`isHere`), has not just read wrong bytes.
 */
export function provenWrong(download: BlobDownload, nowMs: number, isHere: (signer: PeerId) => boolean): WrongPiece[] {
  const wrong: WrongPiece[] = [];
  for (const { piece, isTakenBack, shownAtMs, corrected } of download.suspects) {
    const proven = download.heldPieces.get(piece.index);
    if (proven === undefined || hasHash(piece, proven.hash)) continue;
    const claim = `signed ${hex(piece.hash)} (signature ${hex(piece.signature)}), is ${hex(proven.hash)}`;
    const sinceMs = shownAtMs === undefined ? 0 : nowMs - shownAtMs;
    const isCorrected = isTakenBack || (corrected !== undefined && hasHash(corrected, proven.hash));
    const isStoodBy = !isCorrected && sinceMs >= takeBackWithinMs && isHere(piece.signer);
    const stood = isStoodBy
      ? ` and was not taken back in the ${Math.floor(sinceMs / 1000)} s since its signer was told`
      : '';
    const evidence = `${download.digest} piece ${piece.index}: ${claim}${stood}`;
    wrong.push({ signer: piece.signer, evidence, isTakenBack, isStoodBy });
  }
  return wrong;
}

export function hasHash(piece: SignedPiece, hash: Uint8Array): boolean {
  return Buffer.compare(piece.hash, hash) === 0;
}

const signerOf = ({ signer }: SignedPiece) => signer;

/** In an order drawn per blob, so that the same two are not neighbours every time. */
function ringOf(digest: Digest, peers: Iterable<PeerId>): PeerId[] {
  const weights = new Map([...new Set(peers)].map((peer) => [peer, rendezvousWeight(peer, digest, 0)]));
  return [...weights.keys()].sort((a, b) => (weights.get(b) ?? 0) - (weights.get(a) ?? 0) || (a > b ? -1 : 1));
}
