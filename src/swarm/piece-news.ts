import type { PeerId } from '../content/peer-id.ts';
import type { SignedPiece } from '../content/signed-piece.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobDownload } from './blob-download.ts';
import type { MemberLinks, MemberMessage } from './member-links.ts';
import { maxGivenPieceBytes } from './messages.ts';
import { markOf } from './piece-mark.ts';
import type { Scheduler } from './schedule/scheduler.ts';

/** Which members hear of a piece that this node has got, and when; a small one is given at once. */
export interface PieceNewsDeps {
  readonly scheduler: Scheduler;
  readonly downloads: ReadonlyMap<Digest, BlobDownload>;
  /** A small piece was given to a member. */
  readonly onGiven: (peer: PeerId, bytes: number) => void;
  /** Whether small pieces may be given unasked: not by a node whose uploads are limited. */
  readonly mayGive: boolean;
}

// Below this many holders a piece is news. Three uplinks feed a new piece to a fleet in a few rounds of doubling.
const rareHolders = 3;

// Common pieces are told of within 200 ms among so many members, in a larger fleet later: there more of them fit into one message,
// and enough holders of each are known meanwhile. A sixth of the CPU of 32 nodes goes into messages among them.
const membersPerRound = 8;

// What giving a small blob to all may cost this node's link: half a second of a slow one.
const maxGivenBytes = 256 * 1024;

export class PieceNews {
  readonly #deps: PieceNewsDeps;
  readonly #links: Pick<MemberLinks, 'send' | 'hasRoom'>;
  /** Pieces that enough members hold already, and the round since which the first of them waits to be told of. */
  readonly #unhurried = new Map<Digest, { readonly pieces: Set<number>; readonly sinceRound: number }>();
  #round = 0;

  constructor(deps: PieceNewsDeps, links: Pick<MemberLinks, 'send' | 'hasRoom'>) {
    this.#deps = deps;
    this.#links = links;
  }

  forget(digest: Digest): void {
    this.#unhurried.delete(digest);
  }

  /**
   * Tells members that lack a piece: at once while few hold it, so that it spreads from many; when it is common with whatever else is told, in a
   * few rounds at the latest, so that a fleet of N does not exchange N * N messages per piece.
   */
  tellHave(digest: Digest, piece: number): void {
    const holders = this.#deps.scheduler.downloads.get(digest)?.availability[piece] ?? 0;
    const waiting = this.#unhurried.get(digest) ?? { pieces: new Set(), sinceRound: this.#round };
    waiting.pieces.add(piece);
    this.#unhurried.set(digest, waiting);
    if (holders < rareHolders) this.tellWaiting(digest);
  }

  /**
   * Gives a blob of one small piece to all that lack it, as the one who has just read it at the origin: what each of them would ask for next, and
   * what clients wait for first. Returns whether that was the way to tell of it.
   */
  givePiece(digest: Digest, piece: SignedPiece, bytes: Uint8Array): boolean {
    const download = this.#deps.scheduler.downloads.get(digest);
    if (download === undefined || download.plan.pieceCount > 1 || bytes.length > maxGivenPieceBytes) return false;
    if (!this.#deps.mayGive) return false;
    if (bytes.length * download.members.size > maxGivenBytes) return false;
    const given: MemberMessage = { kind: 'piece', digest, piece, bytes };
    const told = haveOf(digest, [piece]);
    for (const { peer, isFetching, have } of download.members.values()) {
      if (!isFetching || have.has(piece.index)) continue;
      const hasRoom = this.#links.hasRoom(peer, bytes.length);
      this.#links.send(peer, hasRoom ? given : told);
      if (hasRoom) this.#deps.onGiven(peer, bytes.length);
    }
    return true;
  }

  /** Tells of what has waited long enough; the more members there are, the more of it goes into one message. */
  tellUnhurried(): void {
    this.#round += 1;
    for (const [digest, { sinceRound }] of this.#unhurried) {
      const members = this.#deps.scheduler.downloads.get(digest)?.members.size ?? 0;
      if (this.#round - sinceRound >= Math.max(1, Math.ceil(members / membersPerRound))) this.tellWaiting(digest);
    }
  }

  /** Tells of everything that waits, as what else is said now is on its way anyhow. */
  tellWaiting(digest: Digest): void {
    const held = this.#deps.downloads.get(digest)?.heldPieces;
    const all = [...(this.#unhurried.get(digest)?.pieces ?? [])].flatMap((piece) => held?.get(piece) ?? []);
    this.#unhurried.delete(digest);
    if (all.length === 0) return;
    // Most members lack all of it, and one message serves them.
    let toAll: MemberMessage | undefined;
    for (const member of this.#deps.scheduler.downloads.get(digest)?.members.values() ?? []) {
      if (!member.isFetching) continue;
      const news = all.filter(({ index }) => !member.have.has(index));
      if (news.length === 0) continue;
      if (news.length === all.length) toAll ??= haveOf(digest, all);
      const message = news.length === all.length ? toAll : undefined;
      this.#links.send(member.peer, message ?? haveOf(digest, news));
    }
  }
}

/** Says that pieces are here, and in which version. */
export function haveOf(digest: Digest, pieces: readonly SignedPiece[]): MemberMessage {
  return { kind: 'have', digest, pieces: pieces.map(({ index }) => index), marks: Buffer.concat(pieces.map(markOf)) };
}
