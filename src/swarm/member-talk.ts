import { Bitfield } from '../content/bitfield.ts';
import type { PeerId } from '../content/peer-id.ts';
import type { SignedPiece } from '../content/signed-piece.ts';
import type { Provider } from '../discovery/directory.ts';
import { type Clock, delay } from '../lib/clock.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobStore } from '../store/blob-store.ts';
import type { BanList } from './bans.ts';
import type { BlobDownload } from './blob-download.ts';
import type { MemberLinks, MemberMessage } from './member-links.ts';
import { isMarkOf, markBytes } from './piece-mark.ts';
import { haveOf, PieceNews, type PieceNewsDeps } from './piece-news.ts';
import { takesBack } from './schedule/member-events.ts';
import { extentsOf, type RequestState } from './schedule/state.ts';

/**
 * Translates between what members say and the scheduler's events. Providers found in the directory are greeted with this node's
 * state and answer with theirs; from then on both sides tell each other every piece, claim and release of the download.
 */
export interface MemberTalkDeps extends PieceNewsDeps {
  readonly self: PeerId;
  readonly blobs: BlobStore;
  readonly bans: BanList;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly isConnected: (peer: PeerId) => boolean;
  /** A member says which version of a piece it holds. */
  readonly onMark: (peer: PeerId, digest: Digest, piece: number, mark: Uint8Array) => void;
  /** A member shows a piece as it holds it. */
  readonly onSigned: (peer: PeerId, digest: Digest, piece: SignedPiece) => void;
  /** A member gives a small piece unasked. */
  readonly onPiece: (peer: PeerId, digest: Digest, piece: SignedPiece, bytes: Uint8Array) => void;
  /** Something will be asked of a member soon. */
  readonly onMeet: (peer: PeerId) => void;
}

// Two that greet each other do it within this; who greets later than that is answered in any case.
const crossingMs = 2_000;

// A link that overflowed or could not be opened: long enough for a busy peer to catch up, short against a download.
const greetAgainMs = 1_000;

// Of so many pieces the versions fit into a frame.
const maxVersions = 1024;
const versionsBytes = 16 * 1024;

export class MemberTalk {
  readonly news: PieceNews;
  readonly #deps: MemberTalkDeps;
  readonly #links: Pick<MemberLinks, 'send' | 'hasRoom'>;
  /** Members said to hold or fetch a download, whether they answered yet or not. */
  readonly #providers = new Map<Digest, Set<PeerId>>();
  /** Greeted and silent so far; the origin is not asked before they had their say. */
  readonly #silent = new Map<Digest, Set<PeerId>>();
  /** What a member was told in full, and when: a greeting that crosses that is not answered with the same. */
  readonly #told = new Map<Digest, Map<PeerId, { readonly what: string; readonly atMs: number }>>();
  readonly #listeners = new Set<() => void>();
  /** Lost with their link only, and to be greeted again soon. */
  readonly #lost = new Set<PeerId>();

  constructor(deps: MemberTalkDeps, links: Pick<MemberLinks, 'send' | 'hasRoom'>) {
    this.#deps = deps;
    this.#links = links;
    this.news = new PieceNews(deps, links);
  }

  /** The directory names a provider: greet it once. */
  meet(digest: Digest, provider: Provider): void {
    const { peer } = provider;
    if (peer === this.#deps.self || this.#deps.bans.has(peer) || this.#providersOf(digest).has(peer)) return;
    this.#providersOf(digest).add(peer);
    this.greet(digest, peer);
  }

  /** A provider that was lost can be reached again. */
  peerBack(peer: PeerId): void {
    if (this.#deps.bans.has(peer)) return;
    for (const [digest, providers] of this.#providers) if (providers.has(peer)) this.greet(digest, peer);
  }

  forget(digest: Digest): void {
    this.#providers.delete(digest);
    this.#told.delete(digest);
    this.news.forget(digest);
    const isHeardOut = this.isHeardOut(digest);
    this.#silent.delete(digest);
    if (!isHeardOut) this.#tellListeners();
  }

  /** Calls back when everybody greeted for a blob has answered or is gone, or the blob is no longer fetched; the returned function ends it. */
  onHeardOut(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells whether everybody greeted for this blob has answered or is gone. */
  isHeardOut(digest: Digest): boolean {
    return (this.#silent.get(digest)?.size ?? 0) === 0;
  }

  /** The link to a peer is lost. One that stays connected says nothing of coming back: it is greeted anew after a while. */
  peerGone(peer: PeerId): void {
    for (const digest of this.#silent.keys()) this.#heard(digest, peer);
    for (const told of this.#told.values()) told.delete(peer);
    const { clock, isConnected, tasks } = this.#deps;
    if (this.#lost.has(peer) || !isConnected(peer)) return;
    this.#lost.add(peer);
    tasks.run(async (signal) => {
      await delay(clock, greetAgainMs, signal);
      this.#lost.delete(peer);
      if (isConnected(peer)) this.peerBack(peer);
    });
  }

  /** Tells every member that still fetches. */
  tell(digest: Digest, message: MemberMessage): void {
    for (const member of this.#deps.scheduler.downloads.get(digest)?.members.values() ?? []) {
      if (member.isFetching) this.#links.send(member.peer, message);
    }
  }

  tellOne(peer: PeerId, message: MemberMessage): void {
    this.#links.send(peer, message);
  }

  /** Tells every member, also those that hold all: a piece is no less wrong for that. */
  tellAll(digest: Digest, message: MemberMessage): void {
    for (const peer of this.#deps.scheduler.downloads.get(digest)?.members.keys() ?? [])
      this.#links.send(peer, message);
  }

  /** Says anew what this node holds, to members that fetch and to those that hold all; may ask them for the same. */
  restate(download: BlobDownload, wantsReply: boolean): void {
    this.tellAll(download.digest, this.stateOf(download, wantsReply));
  }

  /** Tells that a turn at the origin begins. */
  tellClaim(request: RequestState): void {
    const state = this.#deps.scheduler.downloads.get(request.digest);
    if (state === undefined) return;
    for (const extent of extentsOf(state, request)) {
      this.tell(request.digest, { kind: 'claim', digest: request.digest, extent, receivedBytes: 0 });
    }
    // The frames are on their way anyhow.
    this.news.tellWaiting(request.digest);
  }

  /** Tells how far this node's own requests to the origin are, those that take long enough for others to wonder. */
  tellClaims(digest: Digest, startedBeforeMs: number): void {
    const claims = this.#claims(digest, startedBeforeMs);
    for (const claim of claims) this.tell(digest, claim);
    if (claims.length > 0) this.news.tellWaiting(digest);
  }

  stateOf(download: BlobDownload, wantsReply: boolean): MemberMessage {
    const state = this.#deps.scheduler.downloads.get(download.digest);
    const isComplete = download.state === 'complete';
    return {
      kind: 'state',
      digest: download.digest,
      sizeBytes: download.sizeBytes,
      pieces: isComplete ? undefined : (state?.held ?? new Bitfield(download.plan.pieceCount)).encode(),
      isFetching: !isComplete,
      canAskOrigin: state?.canAskOrigin ?? true,
      wantsReply,
    };
  }

  receive(peer: PeerId, message: MemberMessage): void {
    if (this.#deps.bans.has(peer)) return;
    const { scheduler } = this.#deps;
    const { digest } = message;
    const pieceCount = this.#deps.downloads.get(digest)?.plan.pieceCount ?? 0;
    switch (message.kind) {
      case 'state':
        this.#receiveState(peer, message);
        break;
      case 'have':
        this.#receiveHave(peer, message);
        break;
      case 'leave':
        this.#heard(digest, peer);
        this.#providers.get(digest)?.delete(peer);
        this.#told.get(digest)?.delete(peer);
        scheduler.memberLeft(digest, peer);
        break;
      case 'claim':
        scheduler.memberClaims(digest, peer, message.extent, message.receivedBytes);
        break;
      case 'release':
        scheduler.memberReleases(digest, peer, message.extent);
        break;
      case 'whole':
        scheduler.memberSaysWhole(digest);
        break;
      case 'signed':
        this.#deps.onSigned(peer, digest, message.piece);
        break;
      case 'piece':
        if (message.piece.index < pieceCount) this.#deps.onPiece(peer, digest, message.piece, message.bytes);
        break;
    }
  }

  #heard(digest: Digest, peer: PeerId): void {
    const silent = this.#silent.get(digest);
    if (silent?.delete(peer) === true && silent.size === 0) this.#tellListeners();
  }

  #tellListeners(): void {
    for (const listener of this.#listeners) listener();
  }

  /** A version of somebody who lied about the blob is none to wait for: it will be thrown away there as well. */
  #receiveHave(peer: PeerId, { digest, pieces, marks }: MemberMessage & { kind: 'have' }): void {
    const download = this.#deps.downloads.get(digest);
    if (download === undefined) return;
    const told = [...pieces.entries()]
      .map(([at, piece]) => ({ piece, mark: marks.subarray(at * markBytes, (at + 1) * markBytes) }))
      .filter(({ piece, mark }) => piece < download.plan.pieceCount && !isMarkOf(mark, download.distrusted));
    this.#deps.scheduler.memberHas(
      digest,
      peer,
      told.map(({ piece }) => piece),
    );
    for (const { piece, mark } of told) this.#deps.onMark(peer, digest, piece, mark);
  }

  #receiveState(peer: PeerId, message: MemberMessage & { kind: 'state' }): void {
    const { digest } = message;
    const { scheduler } = this.#deps;
    const download = this.#findFetching(digest);
    if (download === undefined) {
      if (message.wantsReply) this.#answerFromStore(peer, digest);
      return;
    }
    const pieces = message.pieces === undefined ? undefined : Bitfield.decode(download.plan.pieceCount, message.pieces);
    // A member with another size talks of another blob: one of the two was lied to.
    if (message.sizeBytes !== download.sizeBytes || (message.pieces !== undefined && pieces === undefined)) return;
    this.#heard(digest, peer);
    this.#providersOf(digest).add(peer);
    scheduler.peerSeen(peer, false);
    if (this.#deps.bans.shuns(peer)) scheduler.distrust(digest, [], [peer]);
    const state = scheduler.downloads.get(digest);
    const said = { pieces, isFetching: message.isFetching, canAskOrigin: message.canAskOrigin };
    // Who threw pieces away has forgotten who holds them.
    const hasForgotten = state !== undefined && takesBack(state, peer, said);
    if (pieces !== undefined && message.isFetching) leaveOutSuspects(download, pieces, state?.members.get(peer)?.have);
    scheduler.memberState(digest, peer, said);
    if (message.wantsReply && (hasForgotten || !this.#hasJustTold(peer, download))) this.#sayAll(peer, download, false);
  }

  /** Finds what members can be heard about: an ingest that is still being opened takes no part yet. */
  #findFetching(digest: Digest): BlobDownload | undefined {
    const download = this.#deps.downloads.get(digest);
    if (download === undefined || download.hasEnded) return undefined;
    return this.#deps.scheduler.downloads.has(digest) ? download : undefined;
  }

  #sayAll(peer: PeerId, download: BlobDownload, wantsReply: boolean): void {
    const { digest } = download;
    const claims = this.#claims(digest, Number.POSITIVE_INFINITY);
    this.#links.send(peer, this.stateOf(download, wantsReply));
    for (const claim of claims) this.#links.send(peer, claim);
    const held = [...download.heldPieces.values()];
    for (let at = 0; at < held.length && this.#links.hasRoom(peer, versionsBytes); at += maxVersions)
      this.#links.send(peer, haveOf(digest, held.slice(at, at + maxVersions)));
    const told = this.#told.get(digest) ?? new Map();
    this.#told.set(digest, told.set(peer, { what: whatIsTold(download, claims), atMs: this.#deps.clock.nowMs() }));
  }

  #hasJustTold(peer: PeerId, download: BlobDownload): boolean {
    const { digest } = download;
    const told = this.#told.get(digest)?.get(peer);
    if (told === undefined || this.#deps.clock.nowMs() - told.atMs >= crossingMs) return false;
    return told.what === whatIsTold(download, this.#claims(digest, Number.POSITIVE_INFINITY));
  }

  #answerFromStore(peer: PeerId, digest: Digest): void {
    this.#deps.tasks.run(async () => {
      const record = await this.#deps.blobs.findBlob(digest);
      if (this.#findFetching(digest) !== undefined) {
        this.#providersOf(digest).add(peer);
        this.greet(digest, peer);
        return;
      }
      if (record === undefined) {
        this.#links.send(peer, { kind: 'leave', digest });
        return;
      }
      const complete = { pieces: undefined, isFetching: false, canAskOrigin: false, wantsReply: false };
      this.#links.send(peer, { kind: 'state', digest, sizeBytes: record.sizeBytes, ...complete });
    });
  }

  /** Says what this node holds and is fetching, and asks for the same: whoever is heard like that is not waited for any more. */
  greet(digest: Digest, peer: PeerId): void {
    const download = this.#deps.downloads.get(digest);
    if (download === undefined || download.hasEnded) return;
    const silent = this.#silent.get(digest) ?? new Set();
    this.#silent.set(digest, silent.add(peer));
    this.#deps.onMeet(peer);
    this.#sayAll(peer, download, true);
  }

  #claims(digest: Digest, startedBeforeMs: number): ClaimMessage[] {
    const state = this.#deps.scheduler.downloads.get(digest);
    if (state === undefined) return [];
    const claims: ClaimMessage[] = [];
    for (const request of this.#deps.scheduler.requests.values()) {
      if (request.digest !== digest || request.peer !== undefined || request.startedMs >= startedBeforeMs) continue;
      for (const extent of extentsOf(state, request)) {
        if (request.isRace || (state.extents[extent]?.unheld ?? 0) > 0)
          claims.push({ kind: 'claim', digest, extent, receivedBytes: request.receivedBytes });
      }
    }
    return claims;
  }

  #providersOf(digest: Digest): Set<PeerId> {
    const providers = this.#providers.get(digest) ?? new Set();
    if (this.#deps.downloads.has(digest)) this.#providers.set(digest, providers);
    return providers;
  }
}

type ClaimMessage = MemberMessage & { readonly kind: 'claim' };

function whatIsTold(download: BlobDownload, claims: readonly ClaimMessage[]): string {
  return [download.epoch, download.heldPieces.size, ...claims.map(({ extent }) => extent)].join(' ');
}

/** Of a piece that was thrown away here, a member that says no more than that it holds it may hold the same version; the right one it names. */
function leaveOutSuspects(download: BlobDownload, pieces: Bitfield, known: Bitfield | undefined): void {
  for (const { piece } of download.suspects)
    if (!download.hasPiece(piece.index) && known?.has(piece.index) !== true) pieces.delete(piece.index);
}
