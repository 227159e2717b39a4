import { Bitfield } from '../../content/bitfield.ts';
import { extentOf } from '../../content/piece-plan.ts';
import type { PeerId } from '../../content/peer-id.ts';
import type { Clock, Random } from '../../lib/clock.ts';
import type { Digest } from '../../oci/digest.ts';
import { pickHedges } from './hedges.ts';
import type { ScheduleOptions } from './options.ts';
import { originTurns } from './origin-turns.ts';
import { pickPieces } from './piece-picker.ts';
import { rendezvousWeight } from './rendezvous.ts';
import {
  createDownloadState,
  type DownloadState,
  dropMember,
  flightsOf,
  markHeld,
  markMemberHas,
  type PeerState,
  type RequestState,
  unmarkHeld,
} from './state.ts';

/**
 * The mind of the swarm: all downloads of one node as one state machine. Events go in by method and never do I/O; `decide` gives
 * the actions they lead to. Time and randomness are injected, so that the same code runs under a virtual clock.
 *
 * A request: started by `decide` -> progress, pieces stored -> `requestEnded` exactly once (also after a cancel).
 * Invariants: no held or refused piece is asked for; two requests for one piece only as a hedge, or while an origin claim is
 * contested; bytes and requests in flight stay within the options.
 */
export type Action =
  | { readonly kind: 'fetchPieces'; readonly request: RequestState & { readonly peer: PeerId } }
  | { readonly kind: 'fetchExtent'; readonly request: RequestState; readonly extent: number }
  | { readonly kind: 'cancel'; readonly requestId: number };

export type RequestOutcome =
  | { readonly kind: 'done'; readonly bytes: number }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'busy'; readonly retryAfterMs: number }
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed' }
  | { readonly kind: 'originFailed'; readonly isFinal: boolean; readonly retryAfterMs: number | undefined };

export class Scheduler {
  readonly #self: PeerId;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #options: ScheduleOptions;
  readonly #downloads = new Map<Digest, DownloadState>();
  readonly #peers = new Map<PeerId, PeerState>();
  readonly #requests = new Map<number, RequestState>();
  readonly #durations: { bytes: number; ms: number }[] = [];
  #cancels: number[] = [];
  #nextRequestId = 1;
  #nextOrder = 1;

  constructor(deps: { self: PeerId; clock: Clock; random: Random }, options: ScheduleOptions) {
    this.#self = deps.self;
    this.#clock = deps.clock;
    this.#random = deps.random;
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

  /** Forgets a download; its requests are cancelled by the next `decide`. */
  removeDownload(digest: Digest): void {
    this.#downloads.delete(digest);
    for (const request of this.#requests.values()) if (request.digest === digest) this.#cancels.push(request.id);
  }

  /** The directory has answered and the members had time to say hello: the origin may be asked from now on. */
  releaseOrigin(digest: Digest, afterMs: number): void {
    const download = this.#downloads.get(digest);
    if (download === undefined || download.originFailures > 0) return;
    download.originNotBeforeMs = Math.min(download.originNotBeforeMs, this.#clock.nowMs() + afterMs);
  }

  peerSeen(peer: PeerId, isNear: boolean): void {
    if (this.#peers.has(peer)) return;
    this.#peers.set(peer, {
      peer,
      requests: new Set(),
      inFlightBytes: 0,
      rateBytesPerSecond: undefined,
      busyUntilMs: 0,
      failures: 0,
      isBanned: false,
      isNear,
    });
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
  }

  /** A member said what it holds; replaces what was known of it. `pieces` undefined = all. */
  memberState(
    digest: Digest,
    peer: PeerId,
    input: { pieces: Bitfield | undefined; isFetching: boolean; canAskOrigin: boolean },
  ): void {
    const download = this.#downloads.get(digest);
    if (download === undefined || this.#peers.get(peer)?.isBanned === true) return;
    let member = download.members.get(peer);
    if (member === undefined) {
      member = {
        peer,
        have: new Bitfield(download.plan.pieceCount),
        isFetching: input.isFetching,
        canAskOrigin: input.canAskOrigin,
        passedOverUntilMs: 0,
      };
      download.members.set(peer, member);
    }
    member.isFetching = input.isFetching;
    member.canAskOrigin = input.canAskOrigin;
    for (const piece of input.pieces ?? Bitfield.full(download.plan.pieceCount)) this.memberHas(digest, peer, [piece]);
  }

  memberHas(digest: Digest, peer: PeerId, pieces: Iterable<number>): void {
    const download = this.#downloads.get(digest);
    const member = download?.members.get(peer);
    if (download === undefined || member === undefined) return;
    const nowMs = this.#clock.nowMs();
    for (const piece of pieces) {
      if (!markMemberHas(download, member, piece)) continue;
      const extent = extentOf(download.plan, piece);
      const claim = download.extents[extent]?.claims.get(peer);
      if (claim !== undefined) claim.progressMs = nowMs;
      // What a member holds need not come from the origin a second time.
      for (const flight of flightsOf(download, piece))
        if (flight.peer === undefined) this.#stopIfHeldElsewhere(download, flight);
    }
    if (member.have.isFull) member.isFetching = false;
  }

  memberLeft(digest: Digest, peer: PeerId): void {
    const download = this.#downloads.get(digest);
    if (download !== undefined) dropMember(download, peer);
  }

  /** A member says that it fetches an extent from the origin, or that it goes on. */
  memberClaims(digest: Digest, peer: PeerId, extent: number, receivedBytes: number): void {
    const download = this.#downloads.get(digest);
    const state = download?.extents[extent];
    if (download === undefined || state === undefined) return;
    const nowMs = this.#clock.nowMs();
    const claim = state.claims.get(peer);
    if (claim === undefined) {
      state.claims.set(peer, { sinceMs: nowMs, progressMs: nowMs, receivedBytes });
    } else if (receivedBytes > claim.receivedBytes) {
      claim.receivedBytes = receivedBytes;
      claim.progressMs = nowMs;
    }
    const member = download.members.get(peer);
    if (member !== undefined) member.passedOverUntilMs = 0;
    this.#passOver(download, extent, peer, nowMs);
    const own = state.claims.get(this.#self);
    if (own === undefined) return;
    const key = download.isOriginWhole ? 0 : extent;
    const isOwnStalled = nowMs - own.progressMs > this.#options.originStallMs;
    const ownWeight = rendezvousWeight(this.#self, digest, key);
    const otherWeight = rendezvousWeight(peer, digest, key);
    const isOtherBetter = otherWeight > ownWeight || (otherWeight === ownWeight && peer > this.#self);
    if (!isOwnStalled && !isOtherBetter) return;
    for (const request of this.#requests.values()) {
      if (
        request.digest === digest &&
        request.peer === undefined &&
        this.#extentOfRequest(download, request) === extent
      ) {
        this.#cancels.push(request.id);
      }
    }
  }

  /** A member gave up an extent, or cannot ask the origin at all (`extent` undefined). */
  memberReleases(digest: Digest, peer: PeerId, extent: number | undefined): void {
    const download = this.#downloads.get(digest);
    const member = download?.members.get(peer);
    if (download === undefined || member === undefined) return;
    if (extent === undefined) {
      member.canAskOrigin = false;
      for (const state of download.extents) state.claims.delete(peer);
      return;
    }
    download.extents[extent]?.claims.delete(peer);
    member.passedOverUntilMs = this.#clock.nowMs() + passedOverMs;
  }

  originIsWhole(digest: Digest): void {
    const download = this.#downloads.get(digest);
    if (download !== undefined) download.isOriginWhole = true;
  }

  readerAt(digest: Digest, reader: number, piece: number | undefined): void {
    const readers = this.#downloads.get(digest)?.readers;
    if (piece === undefined) readers?.delete(reader);
    else readers?.set(reader, piece);
  }

  requestProgress(requestId: number, receivedBytes: number): void {
    const request = this.#requests.get(requestId);
    if (request === undefined) return;
    request.receivedBytes = receivedBytes;
    request.progressMs = this.#clock.nowMs();
    if (request.peer !== undefined) return;
    const download = this.#downloads.get(request.digest);
    if (download === undefined) return;
    const claim = download.extents[this.#extentOfRequest(download, request)]?.claims.get(this.#self);
    if (claim !== undefined) {
      claim.progressMs = request.progressMs;
      claim.receivedBytes = receivedBytes;
    }
  }

  /** A piece is verified and written. Returns false if it was held already. */
  pieceStored(digest: Digest, piece: number): boolean {
    const download = this.#downloads.get(digest);
    if (download === undefined || !markHeld(download, piece)) return false;
    for (const flight of [...flightsOf(download, piece)]) {
      let isDone = true;
      for (let at = flight.first; at < flight.first + flight.count; at += 1) isDone &&= download.held.has(at);
      // The sender of the last piece ends by itself; whoever else was asked for it is stopped.
      if (isDone) this.#cancels.push(flight.id);
    }
    download.flights.delete(piece);
    return true;
  }

  /** A peer sent a wrong piece: never ask it for this one again. */
  pieceRefused(digest: Digest, piece: number, peer: PeerId): void {
    const download = this.#downloads.get(digest);
    if (download === undefined) return;
    const peers = download.refused.get(piece) ?? new Set();
    peers.add(peer);
    download.refused.set(piece, peers);
  }

  /** Pieces that were held turned out wrong; `signerPeers` are not asked for them again. */
  distrust(digest: Digest, pieces: Iterable<number>): void {
    const download = this.#downloads.get(digest);
    if (download === undefined) return;
    for (const piece of pieces) unmarkHeld(download, piece);
  }

  requestEnded(requestId: number, outcome: RequestOutcome): void {
    const request = this.#requests.get(requestId);
    if (request === undefined) return;
    this.#requests.delete(requestId);
    const nowMs = this.#clock.nowMs();
    const download = this.#downloads.get(request.digest);
    if (download !== undefined) this.#unflight(download, request);
    if (request.peer === undefined) {
      if (download !== undefined) this.#originEnded(download, request, outcome, nowMs);
      return;
    }
    const state = this.#peers.get(request.peer);
    if (state === undefined) return;
    state.requests.delete(request);
    state.inFlightBytes -= download === undefined ? state.inFlightBytes : request.count * download.plan.pieceBytes;
    if (state.inFlightBytes < 0 || state.requests.size === 0) state.inFlightBytes = 0;
    if (outcome.kind === 'done') {
      const ms = Math.max(1, nowMs - request.startedMs);
      const rate = (outcome.bytes / ms) * 1000;
      state.rateBytesPerSecond =
        state.rateBytesPerSecond === undefined ? rate : state.rateBytesPerSecond * 0.7 + rate * 0.3;
      state.failures = 0;
      this.#durations.push({ bytes: outcome.bytes, ms });
      if (this.#durations.length > 64) this.#durations.shift();
    } else if (outcome.kind === 'busy') {
      state.busyUntilMs = nowMs + outcome.retryAfterMs * (0.5 + this.#random.next());
    } else if (outcome.kind === 'absent' && download !== undefined) {
      this.#forgetHave(download, request);
    } else if (outcome.kind === 'failed') {
      state.failures += 1;
      state.busyUntilMs = nowMs + Math.min(30_000, 200 * 2 ** state.failures) * (0.5 + this.#random.next() / 2);
    }
  }

  /** Gives everything that should be started or stopped now. */
  decide(): Action[] {
    const nowMs = this.#clock.nowMs();
    const actions: Action[] = [];
    const downloads = [...this.#downloads.values()];
    for (const requestId of new Set(this.#cancels)) {
      if (this.#requests.has(requestId)) actions.push({ kind: 'cancel', requestId });
    }
    this.#cancels = [];
    const { turns } = originTurns(this.#self, downloads, nowMs, this.#options);
    for (const turn of turns) {
      const request = this.#start(turn.download, undefined, turn.first, turn.count, nowMs);
      const extent = turn.extent;
      turn.download.extents[extent]?.claims.set(this.#self, { sinceMs: nowMs, progressMs: nowMs, receivedBytes: 0 });
      this.#passOver(turn.download, extent, this.#self, nowMs);
      actions.push({ kind: 'fetchExtent', request, extent });
    }
    let requests = 0;
    let bytes = 0;
    for (const state of this.#peers.values()) {
      requests += state.requests.size;
      bytes += state.inFlightBytes;
    }
    const budget = { requests: this.#options.maxRequests - requests, bytes: this.#options.maxInFlightBytes - bytes };
    const picks = pickPieces(downloads, this.#peers, budget, nowMs, this.#random, this.#options);
    for (const pick of picks) {
      actions.push({
        kind: 'fetchPieces',
        request: this.#startPeer(pick.download, pick.peer, pick.first, pick.count, nowMs),
      });
    }
    const spare = budget.requests - picks.length;
    if (spare > 0) {
      const usual = (size: number) => this.#usualMs(size);
      for (const { pick, late } of pickHedges(
        this.#downloads,
        this.#requests.values(),
        this.#peers,
        usual,
        spare,
        nowMs,
        this.#random,
        this.#options,
      )) {
        late.isHedged = true;
        actions.push({
          kind: 'fetchPieces',
          request: this.#startPeer(pick.download, pick.peer, pick.first, pick.count, nowMs),
        });
      }
    }
    return actions;
  }

  /** Says why nothing moves for a download, or undefined while something does or may. */
  findBlockage(digest: Digest): { missingPieces: number } | undefined {
    const download = this.#downloads.get(digest);
    if (download === undefined || download.held.isFull) return undefined;
    const nowMs = this.#clock.nowMs();
    if (download.canAskOrigin && download.originFailures === 0) return undefined;
    let missingPieces = 0;
    for (let piece = 0; piece < download.plan.pieceCount; piece += 1) {
      if (download.held.has(piece)) continue;
      if (flightsOf(download, piece).size > 0) return undefined;
      if ((download.availability[piece] ?? 0) === 0) missingPieces += 1;
    }
    if (missingPieces === 0) return undefined;
    for (const extent of download.extents) {
      for (const [peer, claim] of extent.claims) {
        if (peer !== this.#self && nowMs - claim.progressMs < this.#options.originStallMs) return undefined;
      }
    }
    return { missingPieces };
  }

  #start(download: DownloadState, peer: PeerId | undefined, first: number, count: number, nowMs: number): RequestState {
    const request: RequestState = {
      id: this.#nextRequestId++,
      digest: download.digest,
      peer,
      first,
      count,
      startedMs: nowMs,
      progressMs: nowMs,
      receivedBytes: 0,
      isHedged: false,
    };
    this.#requests.set(request.id, request);
    for (let piece = first; piece < first + count; piece += 1) {
      if (download.held.has(piece)) continue;
      const flights = download.flights.get(piece) ?? new Set();
      flights.add(request);
      download.flights.set(piece, flights);
    }
    return request;
  }

  #startPeer(
    download: DownloadState,
    peer: PeerId,
    first: number,
    count: number,
    nowMs: number,
  ): RequestState & { peer: PeerId } {
    const request = this.#start(download, peer, first, count, nowMs);
    const state = this.#peers.get(peer);
    state?.requests.add(request);
    if (state !== undefined) state.inFlightBytes += count * download.plan.pieceBytes;
    return request as RequestState & { peer: PeerId };
  }

  #unflight(download: DownloadState, request: RequestState): void {
    for (let piece = request.first; piece < request.first + request.count; piece += 1) {
      const flights = download.flights.get(piece);
      flights?.delete(request);
      if (flights?.size === 0) download.flights.delete(piece);
    }
  }

  #originEnded(download: DownloadState, request: RequestState, outcome: RequestOutcome, nowMs: number): void {
    download.extents[this.#extentOfRequest(download, request)]?.claims.delete(this.#self);
    if (outcome.kind === 'done') download.originFailures = 0;
    if (outcome.kind !== 'originFailed') return;
    download.originFailures += 1;
    if (outcome.isFinal) download.canAskOrigin = false;
    const backOffMs = Math.min(15_000, 250 * 2 ** download.originFailures) * (0.5 + this.#random.next() / 2);
    download.originNotBeforeMs = nowMs + Math.max(outcome.retryAfterMs ?? 0, backOffMs);
  }

  #extentOfRequest(download: DownloadState, request: RequestState): number {
    if (request.count === download.plan.pieceCount && download.isOriginWhole) return 0;
    return extentOf(download.plan, request.first);
  }

  #stopIfHeldElsewhere(download: DownloadState, flight: RequestState): void {
    for (let piece = flight.first; piece < flight.first + flight.count; piece += 1) {
      if (!download.held.has(piece) && (download.availability[piece] ?? 0) === 0) return;
    }
    this.#cancels.push(flight.id);
  }

  /** Members before `peer` in rank let the turn go by: they are left out for a while, so that others need not wait for them each time. */
  #passOver(download: DownloadState, extent: number, peer: PeerId, nowMs: number): void {
    const state = download.extents[extent];
    if (state?.dueSinceMs === undefined || nowMs - state.dueSinceMs < this.#options.takeoverMs) return;
    const key = download.isOriginWhole ? 0 : extent;
    const weight = rendezvousWeight(peer, download.digest, key);
    for (const member of download.members.values()) {
      if (member.peer === peer || state.claims.has(member.peer)) continue;
      if (rendezvousWeight(member.peer, download.digest, key) > weight) member.passedOverUntilMs = nowMs + passedOverMs;
    }
  }

  #forgetHave(download: DownloadState, request: RequestState): void {
    const member = request.peer === undefined ? undefined : download.members.get(request.peer);
    if (member === undefined || request.peer === undefined) return;
    const kept = [...member.have].filter((piece) => piece < request.first || piece >= request.first + request.count);
    const { isFetching, canAskOrigin } = member;
    dropMember(download, request.peer);
    if (!isFetching) return;
    const pieces = new Bitfield(download.plan.pieceCount);
    for (const piece of kept) pieces.add(piece);
    this.memberState(download.digest, request.peer, { pieces, isFetching, canAskOrigin });
  }

  #usualMs(bytes: number): number {
    if (this.#durations.length < 8) return Number.POSITIVE_INFINITY;
    const perByte = this.#durations.map((sample) => sample.ms / sample.bytes).sort((a, b) => a - b);
    return (perByte[Math.floor(perByte.length * 0.85)] ?? 0) * bytes;
  }
}

// Long enough to matter over several extents, short enough that a node that was only busy comes back.
const passedOverMs = 5_000;
