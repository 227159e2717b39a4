import type { PeerId } from '../../content/peer-id.ts';
import type { Clock, Random } from '../../lib/clock.ts';
import type { Digest } from '../../oci/digest.ts';
import { findBlockage } from './blockage.ts';
import { addFlight, createRequest, removeFlight, spareBudget } from './flights.ts';
import { pickAwaited, pickHedges } from './hedges.ts';
import { excusedMs, Lag } from './lag.ts';
import {
  applyClaim,
  applyDistrust,
  applyMemberHas,
  applyMemberState,
  applyRelease,
  applySelfReliance,
  applySuspicion,
  excuseMembers,
  type MemberSays,
  passOver,
  takesBack,
} from './member-events.ts';
import { noteMoving, noteMute, noteUnserved, takenBackWeight } from './mute-peers.ts';
import type { ScheduleOptions } from './options.ts';
import { originTurns } from './origin-turns.ts';
import { type PiecePick, pickPieces } from './piece-picker.ts';
import { RequestDurations } from './request-durations.ts';
import {
  applyOriginEnd,
  applyPeerEnd,
  type Doubt,
  isHopeless,
  originOutcome,
  type RequestOutcome,
} from './request-ends.ts';
import {
  createDownloadState,
  createPeerState,
  type DownloadState,
  dropMember,
  extentsOf,
  flightsOf,
  forgetOldBans,
  isAllHeld,
  markHeld,
  type PeerState,
  type RequestState,
  unmarkMemberHas,
} from './state.ts';
import { Supply } from './supply.ts';
import { turnsToYield } from './yielding.ts';

/**
 * The mind of the swarm: all downloads of one node as one state machine. Events go in by method and never do I/O; `decide` gives
 * the actions they lead to. Time and randomness are injected, so that the same code runs under a virtual clock.
 *
 * A request: started by `decide` -> progress, pieces stored -> `requestEnded` exactly once (also after a cancel).
 * Invariants: no held or refused piece is asked for; two requests for one piece only as a hedge, or while an origin claim is
 * contested; bytes and requests in flight stay within the options.
 */
export type Action =
  | {
      readonly kind: 'fetchPieces';
      readonly request: RequestState & { readonly peer: PeerId };
      readonly isHedge: boolean;
    }
  | { readonly kind: 'fetchExtent'; readonly request: RequestState }
  | { readonly kind: 'cancel'; readonly requestId: number };

export class Scheduler {
  readonly #self: PeerId;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly lag: Lag;
  #options: ScheduleOptions;
  readonly #downloads = new Map<Digest, DownloadState>();
  readonly #peers = new Map<PeerId, PeerState>();
  readonly #requests = new Map<number, RequestState>();
  readonly #durations = new RequestDurations();
  readonly #supply = new Supply();
  #cancels: number[] = [];
  /** Requests forgotten here that still run. */
  #abandoned: number[] = [];
  #nextRequestId = 1;
  #nextOrder = 1;

  constructor(deps: { self: PeerId; clock: Clock; random: Random }, options: ScheduleOptions) {
    this.#self = deps.self;
    this.#clock = deps.clock;
    this.#random = deps.random;
    this.lag = new Lag(options);
    this.#options = options;
  }

  get downloads(): ReadonlyMap<Digest, DownloadState> {
    return this.#downloads;
  }

  get peers(): ReadonlyMap<PeerId, PeerState> {
    return this.#peers;
  }

  get requests(): ReadonlyMap<number, RequestState> {
    return this.#requests;
  }

  addDownload(input: {
    digest: Digest;
    sizeBytes: number;
    originDelayMs: number;
    canAskOrigin: boolean;
    held: Iterable<number>;
  }): DownloadState {
    const download = createDownloadState({
      ...input,
      order: this.#nextOrder++,
      originNotBeforeMs: this.#clock.nowMs() + input.originDelayMs,
    });
    this.#downloads.set(input.digest, download);
    return download;
  }

  /** Forgets a download with its requests, so that one of the same digest can start at once; the next `decide` cancels them. */
  removeDownload(digest: Digest): void {
    for (const request of [...this.#requests.values()]) {
      if (request.digest !== digest) continue;
      this.requestEnded(request.id, { kind: 'cancelled' });
      this.#abandoned.push(request.id);
    }
    this.#downloads.delete(digest);
  }

  /** The directory has answered and the members had time to say hello: the origin may be asked from now on. */
  releaseOrigin(digest: Digest, afterMs: number): void {
    const download = this.#downloads.get(digest);
    if (download === undefined || download.originFailures > 0) return;
    download.originNotBeforeMs = Math.min(download.originNotBeforeMs, this.#clock.nowMs() + afterMs);
  }

  /** A peer that is not banned (any more) can be asked. */
  peerSeen(peer: PeerId, isNear: boolean): void {
    const known = this.#peers.get(peer);
    if (known !== undefined) {
      known.isBanned = false;
      return;
    }
    this.#peers.set(peer, createPeerState(peer, isNear));
  }

  peerGone(peer: PeerId): void {
    for (const download of this.#downloads.values()) dropMember(download, peer);
    for (const request of this.#peers.get(peer)?.requests ?? []) this.#cancels.push(request.id);
    if (this.#peers.get(peer)?.isBanned === false) this.#peers.delete(peer);
  }

  ban(peer: PeerId): void {
    this.peerSeen(peer, false);
    const state = this.#peers.get(peer);
    if (state !== undefined) state.isBanned = true;
    this.peerGone(peer);
    forgetOldBans(this.#peers);
  }

  /** A member said what it holds; replaces what was known of it. `pieces` undefined = all. */
  memberState(digest: Digest, peer: PeerId, said: MemberSays): void {
    const download = this.#downloads.get(digest);
    const state = this.#peers.get(peer);
    if (download === undefined || state?.isBanned === true) return;
    const nowMs = this.#clock.nowMs();
    const isDoubtful = state !== undefined && takesBack(download, peer, said);
    if (isDoubtful) noteUnserved(state, this.#downloads.values(), nowMs, takenBackWeight);
    this.#cancels.push(...applyMemberState(download, peer, said, nowMs, state?.muteSinceMs !== undefined));
  }

  memberHas(digest: Digest, peer: PeerId, pieces: Iterable<number>): void {
    const download = this.#downloads.get(digest);
    if (download !== undefined) this.#cancels.push(...applyMemberHas(download, peer, pieces, this.#clock.nowMs()));
  }

  memberLeft(digest: Digest, peer: PeerId): void {
    const download = this.#downloads.get(digest);
    if (download !== undefined) dropMember(download, peer);
  }

  /** A member says that it fetches an extent from the origin, or that it goes on. */
  memberClaims(digest: Digest, peer: PeerId, extent: number, receivedBytes: number): void {
    const download = this.#downloads.get(digest);
    if (download === undefined || download.isSelfReliant) return;
    const nowMs = this.#clock.nowMs();
    if (!applyClaim(this.#self, download, peer, extent, receivedBytes, nowMs, this.#options)) return;
    const own = this.#requests.values();
    this.#cancels.push(...turnsToYield(this.#self, download, own, { peer, extent }, nowMs, this.#options));
  }

  /** A member gave up an extent, or cannot ask the origin at all (`extent` undefined). */
  memberReleases(digest: Digest, peer: PeerId, extent: number | undefined): void {
    const download = this.#downloads.get(digest);
    if (download !== undefined) applyRelease(download, peer, extent, this.#clock.nowMs());
  }

  /** A member says that the origin ignores Range. It may be wrong, or lie: where this node got a part of the blob there, it does not. */
  memberSaysWhole(digest: Digest): void {
    if (this.#downloads.get(digest)?.originBytesPerSecond === undefined) this.originIsWhole(digest);
  }

  /** The origin ignores Range: all requests for parts of the blob stop, and the turns at it start over with one for the whole. */
  originIsWhole(digest: Digest): void {
    const download = this.#downloads.get(digest);
    if (download === undefined || download.isOriginWhole) return;
    download.isOriginWhole = true;
    for (const extent of download.extents) {
      extent.claims.clear();
      extent.dueSinceMs = undefined;
      extent.owner = undefined;
    }
    for (const request of this.#requests.values()) {
      const isForPart = request.count < download.plan.pieceCount;
      if (request.digest === digest && request.peer === undefined && isForPart) this.#cancels.push(request.id);
    }
  }

  /** The origin may have the blob after all: it became known under another name. */
  allowOrigin(digest: Digest): void {
    const download = this.#downloads.get(digest);
    if (download !== undefined && !download.canAskOrigin)
      Object.assign(download, { canAskOrigin: true, originFailures: 0, originNotBeforeMs: this.#clock.nowMs() });
  }

  readerAt(digest: Digest, reader: number, piece: number | undefined): void {
    const readers = this.#downloads.get(digest)?.readers;
    if (piece === undefined) readers?.delete(reader);
    else readers?.set(reader, piece);
  }

  /** The answer of a peer has begun as if the pieces followed. */
  requestPromised(requestId: number): void {
    const request = this.#requests.get(requestId);
    if (request !== undefined) request.promisedMs = this.#clock.nowMs();
  }

  requestProgress(requestId: number, receivedBytes: number): void {
    const request = this.#requests.get(requestId);
    if (request === undefined) return;
    this.#supply.received(Math.max(0, receivedBytes - request.receivedBytes), request.peer !== undefined);
    request.receivedBytes = receivedBytes;
    request.progressMs = this.#clock.nowMs();
    if (request.peer !== undefined) {
      const state = this.#peers.get(request.peer);
      if (state !== undefined && receivedBytes > 0) noteMoving(state, this.#downloads.values(), request.progressMs);
      return;
    }
    const download = this.#downloads.get(request.digest);
    if (download === undefined) return;
    for (const extent of extentsOf(download, request)) {
      const claim = download.extents[extent]?.claims.get(this.#self);
      if (claim !== undefined) Object.assign(claim, { progressMs: request.progressMs, receivedBytes });
    }
  }

  /** A tick came so late: while the event loop stood still nobody else was late, as far as this node can tell. */
  lagged(lateMs: number): void {
    this.#options = this.lag.stretch(lateMs);
    if (lateMs < excusedMs) return;
    const nowMs = this.#clock.nowMs();
    for (const request of this.#requests.values()) request.progressMs = Math.min(nowMs, request.progressMs + lateMs);
    for (const download of this.#downloads.values()) excuseMembers(download, lateMs, nowMs);
    this.#supply.excuse(lateMs, nowMs);
  }

  /** A piece that `requestId` brought is verified and written. Returns false if it was held already. */
  pieceStored(digest: Digest, piece: number, requestId: number): boolean {
    const download = this.#downloads.get(digest);
    if (download === undefined || !markHeld(download, piece)) return false;
    for (const flight of flightsOf(download, piece)) {
      // Whoever brought it ends by itself; others that have nothing left to bring are stopped.
      if (flight.id !== requestId && isAllHeld(download, flight)) this.#cancels.push(flight.id);
    }
    download.flights.delete(piece);
    return true;
  }

  /** What a peer sent of a piece is not believed: it counts as not holding it until it says so again. */
  pieceRefused(digest: Digest, piece: number, peer: PeerId): void {
    const download = this.#downloads.get(digest);
    const member = download?.members.get(peer);
    if (download !== undefined && member !== undefined) unmarkMemberHas(download, member, piece);
  }

  /** Pieces that were held turned out suspect: they are fetched again, and nobody is believed to hold them unless it says so again. */
  distrust(digest: Digest, pieces: Iterable<number>, signers: readonly PeerId[]): void {
    const download = this.#downloads.get(digest);
    if (download === undefined) return;
    for (const signer of signers) if (!download.distrusted.has(signer)) applyDistrust(download, signer);
    applySuspicion(download, pieces);
  }

  /** From now on everything missing is read from the origin by this node, whatever members hold or claim. */
  relyOnSelf(digest: Digest): void {
    const download = this.#downloads.get(digest);
    if (download !== undefined) applySelfReliance(download);
  }

  requestEnded(requestId: number, ended: RequestOutcome): Doubt | undefined {
    const request = this.#requests.get(requestId);
    if (request === undefined) return undefined;
    const outcome: RequestOutcome = request.isStalled && ended.kind === 'cancelled' ? { kind: 'failed' } : ended;
    this.#requests.delete(requestId);
    if (outcome.kind === 'done')
      this.#supply.received(Math.max(0, outcome.bytes - request.receivedBytes), request.peer !== undefined);
    const nowMs = this.#clock.nowMs();
    const download = this.#downloads.get(request.digest);
    if (download !== undefined) removeFlight(download, request);
    const moment = { nowMs, random: this.#random };
    const { peer } = request;
    if (peer === undefined) {
      const how = originOutcome(request, outcome, nowMs, this.#options);
      if (download !== undefined) applyOriginEnd(this.#self, download, request, how, moment);
      return undefined;
    }
    const state = this.#peers.get(peer);
    if (state === undefined) return undefined;
    const downloads = this.#downloads.values();
    if (outcome.kind === 'done') noteMoving(state, downloads, nowMs);
    else if (outcome.kind === 'absent' || outcome.kind === 'failed') noteUnserved(state, downloads, nowMs);
    return applyPeerEnd(state, download, Object.assign(request, { peer }), outcome, this.#durations, moment);
  }

  /** Gives everything that should be started or stopped now. */
  decide(): Action[] {
    const nowMs = this.#clock.nowMs();
    const actions: Action[] = [];
    const downloads = [...this.#downloads.values()];
    const usualMs = (bytes: number) => this.#durations.usualMs(bytes);
    for (const request of this.#requests.values()) {
      const peer = request.peer && this.#peers.get(request.peer);
      if (!peer || !isHopeless(request, peer, this.#downloads, this.#supply, usualMs, nowMs, this.#options)) continue;
      request.isStalled = true;
      this.#cancels.push(request.id);
    }
    for (const requestId of new Set(this.#cancels))
      if (this.#requests.has(requestId)) actions.push({ kind: 'cancel', requestId });
    for (const requestId of this.#abandoned) actions.push({ kind: 'cancel', requestId });
    this.#cancels = [];
    this.#abandoned = [];
    this.#supply.judge(downloads, this.#peers, nowMs, this.#options);
    noteMute(this.#peers.values(), this.#downloads, usualMs, nowMs, this.#options);
    const { turns } = originTurns(this.#self, downloads, nowMs, this.#options, this.#peers);
    for (const turn of turns) {
      const request = this.#start(turn.download, undefined, turn, nowMs);
      turn.download.restsUntilMs = 0;
      for (const extent of turn.extents) {
        turn.download.extents[extent]?.claims.set(this.#self, { sinceMs: nowMs, progressMs: nowMs, receivedBytes: 0 });
        passOver(this.#self, turn.download, extent, this.#self, nowMs, this.#options);
      }
      actions.push({ kind: 'fetchExtent', request });
    }
    const moment = { usualMs, nowMs, random: this.#random };
    const room = () => spareBudget(this.#peers.values(), this.#options);
    const awaited = room().requests > 0 ? pickAwaited(downloads, this.#peers, moment, this.#options) : undefined;
    if (awaited !== undefined) actions.push(this.#fetch(awaited.pick, nowMs, awaited.late));
    const budget = room();
    const picks = pickPieces(this.#self, downloads, this.#peers, budget, nowMs, this.#random, this.#options);
    for (const pick of picks) actions.push(this.#fetch(pick, nowMs));
    const spare = budget.requests - picks.length;
    if (spare <= 0) return actions;
    const state = { downloads: this.#downloads, requests: this.#requests.values(), peers: this.#peers };
    const hedges = pickHedges(state, { ...moment, budget: spare }, this.#options);
    for (const { pick, late } of hedges) actions.push(this.#fetch(pick, nowMs, late));
    return actions;
  }

  /** Says why nothing moves for a download, or undefined while something does or may. */
  findBlockage(digest: Digest): { missingPieces: number } | undefined {
    const download = this.#downloads.get(digest);
    return download && findBlockage(download, this.#self, this.#peers, this.#clock.nowMs(), this.#options);
  }

  #start(
    download: DownloadState,
    peer: PeerId | undefined,
    { first, count, isRace }: { first: number; count: number; isRace?: boolean },
    nowMs: number,
  ): RequestState {
    const run = { digest: download.digest, peer, first, count, isRace: isRace === true };
    const request = createRequest(this.#nextRequestId++, run, nowMs);
    this.#requests.set(request.id, request);
    if (peer !== undefined) {
      const state = this.#peers.get(peer);
      state?.requests.add(request);
      if (state !== undefined) state.inFlightBytes += count * download.plan.pieceBytes;
    }
    addFlight(download, request);
    return request;
  }

  #fetch(pick: PiecePick, nowMs: number, late?: RequestState): Action {
    if (late !== undefined) late.isHedged = true;
    const request = this.#start(pick.download, pick.peer, pick, nowMs);
    return { kind: 'fetchPieces', request: Object.assign(request, { peer: pick.peer }), isHedge: late !== undefined };
  }
}
