import { Bitfield } from '../../content/bitfield.ts';
import type { PeerId } from '../../content/peer-id.ts';
import { extentOf } from '../../content/piece-plan.ts';
import type { ScheduleOptions } from './options.ts';
import {
  type Claim,
  type DownloadState,
  dropMember,
  flightsOf,
  forgetOrders,
  isHeldByMembers,
  type MemberState,
  markMemberHas,
  type RequestState,
  unmarkHeld,
  unmarkMemberHas,
} from './state.ts';
import { holdsExtent, isOnlyRaced, rankOf, turnOrder } from './turn-order.ts';

/** What members say, applied to one download. Functions that return request IDs name requests that are not needed any more. */
export interface MemberSays {
  /** Undefined = all. */
  readonly pieces: Bitfield | undefined;
  readonly isFetching: boolean;
  readonly canAskOrigin: boolean;
}

export function applyMemberState(
  download: DownloadState,
  peer: PeerId,
  said: MemberSays,
  nowMs: number,
  isMute = false,
): number[] {
  const pieceCount = download.plan.pieceCount;
  const pieces = said.pieces ?? Bitfield.full(pieceCount);
  let member = download.members.get(peer);
  if (member === undefined) {
    member = {
      peer,
      have: new Bitfield(pieceCount),
      isFetching: true,
      canAskOrigin: true,
      passedOverUntilMs: 0,
      sitsOutUntilMs: 0,
      restsUntilMs: 0,
      lateUntilMs: download.waits.get(peer)?.lateUntilMs ?? 0,
      slowestTurnMs: undefined,
      undeliveredSinceMs: undefined,
      doubted: new Set(),
      isMute,
    };
    download.members.set(peer, member);
    forgetOrders(download);
  }
  if (member.isFetching !== said.isFetching || member.canAskOrigin !== said.canAskOrigin) forgetOrders(download);
  member.isFetching = said.isFetching;
  member.canAskOrigin = said.canAskOrigin;
  for (const piece of [...member.have]) if (!pieces.has(piece)) unmarkMemberHas(download, member, piece);
  return applyMemberHas(download, peer, pieces, nowMs);
}

/** Whether it does not hold any more what it said before. */
export function takesBack(download: DownloadState, peer: PeerId, { pieces }: MemberSays): boolean {
  const member = download.members.get(peer);
  if (member === undefined || pieces === undefined) return false;
  for (const piece of member.have) if (!pieces.has(piece)) return true;
  return false;
}

export function applyMemberHas(
  download: DownloadState,
  peer: PeerId,
  pieces: Iterable<number>,
  nowMs: number,
): number[] {
  const member = download.members.get(peer);
  // What nobody is believed to hold must not keep this node from reading it at the origin.
  if (member === undefined || download.isSelfReliant || download.distrusted.has(peer)) return [];
  // It is there, and so it will take its turns.
  member.passedOverUntilMs = 0;
  const unneeded: number[] = [];
  for (const piece of pieces) {
    if (!markMemberHas(download, member, piece)) continue;
    member.undeliveredSinceMs = undefined;
    download.waits.delete(peer);
    applyDelivery(download, peer, extentOf(download.plan, piece), nowMs);
    // What a member holds need not come from the origin a second time.
    for (const flight of flightsOf(download, piece)) {
      if (flight.peer === undefined && !flight.isRace && isHeldByMembers(download, flight)) unneeded.push(flight.id);
    }
  }
  if (member.have.isFull && member.isFetching) {
    member.isFetching = false;
    forgetOrders(download);
  }
  return unneeded;
}

/** A turn moves, and those claimed together with it begin once it is over. */
function applyDelivery(download: DownloadState, peer: PeerId, extent: number, nowMs: number): void {
  const claim = download.extents[extent]?.claims.get(peer);
  if (claim === undefined) return;
  claim.progressMs = nowMs;
  const member = download.members.get(peer);
  if (member !== undefined && holdsExtent(member, download, extent)) {
    applyTurnEnd(member, claim, nowMs);
    // What it says again of these pieces later is no turn.
    download.extents[extent]?.claims.delete(peer);
  }
  for (let next = extent + 1; ; next += 1) {
    const behind = download.extents[next]?.claims.get(peer);
    if (behind === undefined) return;
    behind.sinceMs = nowMs;
  }
}

/** A turn that began after a late one and was not late is through: what held the member's link up is over. */
function applyTurnEnd(member: MemberState, claim: Claim, nowMs: number): void {
  member.slowestTurnMs = Math.max(member.slowestTurnMs ?? 0, nowMs - claim.sinceMs);
  if (member.lateUntilMs > nowMs && claim.sinceMs >= member.lateUntilMs - lateRestMs) member.lateUntilMs = 0;
}

/** For how long after the moment from which a turn was late nobody waits for the member's turns. */
export const lateRestMs = 20_000;

/** A member goes on with an extent at the origin, or begins it; tells whether that is news. */
export function applyClaim(
  self: PeerId,
  download: DownloadState,
  peer: PeerId,
  extent: number,
  receivedBytes: number,
  nowMs: number,
  options: ScheduleOptions,
): boolean {
  const state = download.extents[extent];
  const member = download.members.get(peer);
  // Of whoever is no member nothing else is known, so that nobody could tell when it is late.
  if (state === undefined || member === undefined || member.isMute || download.distrusted.has(peer)) return false;
  const claim = state.claims.get(peer);
  if (claim === undefined) {
    state.claims.set(peer, { sinceMs: nowMs, progressMs: nowMs, receivedBytes });
  } else if (receivedBytes > claim.receivedBytes && isDelivering(download, member, nowMs, options)) {
    claim.receivedBytes = receivedBytes;
    claim.progressMs = nowMs;
  } else {
    // The same said again is no news.
    return false;
  }
  Object.assign(member, { passedOverUntilMs: 0, restsUntilMs: 0 });
  if (isOnlyRaced(state)) member.sitsOutUntilMs = 0;
  passOver(self, download, extent, peer, nowMs, options);
  return true;
}

// Far below any link worth fetching over; a member that claims to fetch and is slower than this is not waited for.
const slowestBytesPerMs = 16;

/** How long who fetches from the origin may take for one piece. */
export function longestPieceMs({ plan }: DownloadState, { originStallMs }: ScheduleOptions): number {
  return originStallMs + plan.pieceBytes / slowestBytesPerMs;
}

/** Words alone are no progress: who claims to read from the origin must have a piece to show for it now and then. */
function isDelivering(download: DownloadState, member: MemberState, nowMs: number, options: ScheduleOptions): boolean {
  member.undeliveredSinceMs ??= nowMs;
  return nowMs - member.undeliveredSinceMs <= longestPieceMs(download, options);
}

export function applyRelease(download: DownloadState, peer: PeerId, extent: number | undefined, nowMs: number): void {
  const member = download.members.get(peer);
  if (member === undefined) return;
  if (extent === undefined) {
    member.canAskOrigin = false;
    forgetOrders(download);
    for (const state of download.extents) state.claims.delete(peer);
    return;
  }
  const state = download.extents[extent];
  state?.claims.delete(peer);
  member.undeliveredSinceMs = undefined;
  // Who only made way for another is not shy of the origin.
  if (state === undefined || (state.claims.size === 0 && state.unheld > 0)) member.restsUntilMs = nowMs + passedOverMs;
}

// Long enough to matter over several extents, short enough that a node that was only busy comes back.
export const passedOverMs = 5_000;

// Nodes that never asked the origin find peers fast enough as soon as others race it for them, and say every moment that they are there.
const sitsOutMs = 20_000;

/** Members before `peer` in rank let the turn go by: they are left out for a while, so that others need not wait for them each time. */
export function passOver(
  self: PeerId,
  download: DownloadState,
  extent: number,
  peer: PeerId,
  nowMs: number,
  options: ScheduleOptions,
): void {
  const state = download.extents[extent];
  if (state?.dueSinceMs === undefined) return;
  if (nowMs - Math.max(state.dueSinceMs, download.originNotBeforeMs) < options.takeoverMs) return;
  const order = turnOrder(self, download);
  const rank = rankOf(peer, order, download, extent, nowMs);
  for (const member of download.members.values()) {
    if (member.peer === peer || state.claims.has(member.peer)) continue;
    if (rankOf(member.peer, order, download, extent, nowMs) >= rank) continue;
    if (isOnlyRaced(state)) member.sitsOutUntilMs = nowMs + sitsOutMs;
    else member.passedOverUntilMs = nowMs + passedOverMs;
  }
}

/** A member lied about the blob: nothing is left to it, nobody waits for what it said it would fetch, and what it holds does not count. */
export function applyDistrust(download: DownloadState, peer: PeerId): void {
  download.distrusted.add(peer);
  forgetOrders(download);
  for (const extent of download.extents) extent.claims.delete(peer);
  const member = download.members.get(peer);
  if (member === undefined) return;
  for (const piece of [...member.have]) unmarkMemberHas(download, member, piece);
}

/** These pieces are fetched again, and nobody is believed to hold them unless it says so again. */
export function applySuspicion(download: DownloadState, pieces: Iterable<number>): void {
  for (const piece of pieces) {
    unmarkHeld(download, piece);
    for (const member of download.members.values()) unmarkMemberHas(download, member, piece);
  }
}

/** Nobody's word counts any more. */
export function applySelfReliance(download: DownloadState): void {
  download.isSelfReliant = true;
  forgetOrders(download);
  for (const member of download.members.values())
    for (const piece of [...member.have]) unmarkMemberHas(download, member, piece);
}

/** Moves what members are measured by, since this node could not hear them for so long. */
export function excuseMembers(download: DownloadState, lostMs: number, nowMs: number): void {
  const later = (atMs: number) => Math.min(nowMs, atMs + lostMs);
  for (const extent of download.extents) {
    if (extent.dueSinceMs !== undefined) extent.dueSinceMs = later(extent.dueSinceMs);
    for (const claim of extent.claims.values()) {
      claim.sinceMs = later(claim.sinceMs);
      claim.progressMs = later(claim.progressMs);
    }
  }
  for (const wait of download.waits.values()) wait.sumMs = Math.max(0, wait.sumMs - lostMs);
  for (const member of download.members.values()) {
    if (member.undeliveredSinceMs !== undefined) member.undeliveredSinceMs = later(member.undeliveredSinceMs);
  }
}

/** The peer said that it does not hold what it was asked for. */
export function forgetHave(download: DownloadState, request: RequestState): void {
  const member = request.peer === undefined ? undefined : download.members.get(request.peer);
  if (member === undefined) return;
  if (!member.isFetching) {
    dropMember(download, member.peer);
    return;
  }
  for (let piece = request.first; piece < request.first + request.count; piece += 1)
    unmarkMemberHas(download, member, piece);
}
