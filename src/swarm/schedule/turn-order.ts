import type { PeerId } from '../../content/peer-id.ts';
import { extentPieceRange } from '../../content/piece-plan.ts';
import { isBetter } from './rendezvous.ts';
import { type DownloadState, type ExtentState, type MemberState, orderOnce } from './state.ts';

/**
 * Who takes turns at the origin for one blob, in the order of taking over: all who fetch and can ask it, this node among them, by
 * rendezvous weight. Nodes that know the same members compute the same order. Who let a turn go by stays in it, so that what one
 * node thinks of another moves the turns of that one alone.
 */
export function turnOrder(self: PeerId, download: DownloadState): readonly PeerId[] {
  return orderOnce(download, 'turns', () => {
    const peers = [self];
    if (!download.isSelfReliant) {
      for (const member of download.members.values()) if (takesTurns(download, member)) peers.push(member.peer);
    }
    return peers.sort((a, b) => (isBetter(a, b, download.digest, 0) ? -1 : 1));
  });
}

/** Whose turn an extent is, fixed once it begins: who comes and goes later changes the turns to come. */
export function ownerOf(order: readonly PeerId[], download: DownloadState, extent: number): PeerId | undefined {
  const fixed = download.extents[extent]?.owner;
  if (fixed !== undefined && order.includes(fixed)) return fixed;
  // A whole-blob stream has one owner for all extents.
  if (download.isOriginWhole) return order[0];
  return ownersOf(order, download, Math.floor(extent / roundExtents))[extent % roundExtents];
}

// Twice what is under way at once: neighbours are on different uplinks, and a round is short enough that two views of the members
// differ in few of its turns.
const roundExtents = 16;

// An order is made anew when a member comes or goes, and its draws go with it.
const drawn = new WeakMap<readonly PeerId[], Map<number, readonly PeerId[]>>();

/**
 * The owners of a round of extents, each drawn by rendezvous weight among those who have none in it yet. Who does not know of a
 * member gives away that member's turns and few others; counted off in order, it would disagree about nearly all.
 */
function ownersOf(order: readonly PeerId[], { digest }: DownloadState, round: number): readonly PeerId[] {
  const rounds = drawn.get(order) ?? new Map<number, readonly PeerId[]>();
  drawn.set(order, rounds);
  const known = rounds.get(round);
  if (known !== undefined) return known;
  const owners: PeerId[] = [];
  let left = new Set(order);
  for (let extent = round * roundExtents; owners.length < roundExtents; extent += 1) {
    if (left.size === 0) left = new Set(order);
    const owner = [...left].reduce((best, peer) => (isBetter(peer, best, digest, extent) ? peer : best));
    owners.push(owner);
    left.delete(owner);
  }
  rounds.set(round, owners);
  return owners;
}

/**
 * How many go before `peer` for this extent, without those who let turns go by, have enough of them, or hold it; 0 = its turn. Who has just given
 * a turn up is skipped by all others, and so goes behind all who did not: those who all failed would else begin together.
 */
export function rankOf(
  peer: PeerId,
  order: readonly PeerId[],
  download: DownloadState,
  extent: number,
  nowMs: number,
  busy?: ReadonlySet<PeerId>,
): number {
  const owner = ownerOf(order, download, extent);
  if (owner === undefined || !order.includes(peer)) return order.length;
  const from = order.indexOf(owner);
  const isResting = restsUntil(peer, download) > nowMs;
  let rank = 0;
  let isBehind = false;
  for (let at = from; at < from + order.length; at += 1) {
    const other = order[at % order.length];
    if (other === peer) {
      if (!isResting) break;
      isBehind = true;
    } else if (other !== undefined && busy?.has(other) !== true) {
      if (isEager(other, download, extent, nowMs)) rank += 1;
      else if (isResting && !isBehind && mayReturn(other, download, extent, nowMs)) rank += 1;
    }
  }
  return rank;
}

function isEager(peer: PeerId, download: DownloadState, extent: number, nowMs: number): boolean {
  const member = download.members.get(peer);
  if (member === undefined) return download.restsUntilMs <= nowMs;
  if (member.sitsOutUntilMs > nowMs && isOnlyRaced(download.extents[extent])) return false;
  return !isPassedBy(member, nowMs) && !holdsExtent(member, download, extent);
}

/** Whether somebody holds all of it: who asks the origin does so because that is too slow. */
export function isOnlyRaced(extent: ExtentState | undefined): boolean {
  return extent?.unheld === 0;
}

/** Whether it is skipped for nothing but a turn that it gave up. */
function mayReturn(peer: PeerId, download: DownloadState, extent: number, nowMs: number): boolean {
  const member = download.members.get(peer);
  if (restsUntil(peer, download) <= nowMs) return false;
  if (member === undefined) return true;
  const isGone = member.isMute || Math.max(member.passedOverUntilMs, member.lateUntilMs) > nowMs;
  return !isGone && !holdsExtent(member, download, extent);
}

function restsUntil(peer: PeerId, download: DownloadState): number {
  return (download.members.get(peer) ?? download).restsUntilMs;
}

/** Whether others take its turns: it is mute, or let one go by, gave one up, stands still or is late. */
export function isPassedBy(member: MemberState, nowMs: number): boolean {
  return member.isMute || Math.max(member.passedOverUntilMs, member.restsUntilMs, member.lateUntilMs) > nowMs;
}

export function holdsExtent(member: MemberState | undefined, download: DownloadState, extent: number): boolean {
  if (member === undefined) return false;
  const { start, end } = extentPieceRange(download.plan, extent);
  for (let piece = start; piece < end; piece += 1) if (!member.have.has(piece)) return false;
  return true;
}

export function takesTurns(download: DownloadState, member: MemberState): boolean {
  return member.isFetching && member.canAskOrigin && !download.distrusted.has(member.peer);
}

/** Whether no other member takes turns at the origin, as far as this node knows. */
export function takesTurnsAlone(download: DownloadState): boolean {
  for (const member of download.members.values()) if (takesTurns(download, member)) return false;
  return true;
}
