import type { PeerId } from '../../content/peer-id.ts';
import { lateRestMs, longestPieceMs } from './member-events.ts';
import type { ScheduleOptions } from './options.ts';
import { bytesOfExtent, type Claim, type DownloadState, seenTurnRate, usualPieceMs } from './state.ts';
import { isPassedBy } from './turn-order.ts';

/**
 * Which turns at the origin stand still or take far too long, so that nobody waits for them. A turn is held against those of the
 * others: where everything takes long, as on slow links whose queues are full, nobody is late.
 * Pure: no clock, no I/O.
 */

/** Members whose turns stand still rest, and those whose turns are late are not waited for; notes whether an own turn stands still. */
export function judgeTurns(self: PeerId, download: DownloadState, nowMs: number, options: ScheduleOptions): void {
  if (nowMs < download.stallsSeenMs + stallLookMs) return;
  const passedMs = Math.min(2 * stallLookMs, nowMs - download.stallsSeenMs);
  const claimants = new Set<PeerId>();
  noteRunningTurns(download, nowMs);
  download.stallsSeenMs = nowMs;
  download.isOwnTurnStalled = false;
  const { extents } = download;
  for (let extent = download.firstOpenExtent; extent < extents.length; extent += 1) {
    const state = extents[extent];
    if (state === undefined || state.unheld === 0 || state.claims.size === 0) continue;
    for (const [peer, claim] of state.claims) {
      const member = download.members.get(peer);
      if (member !== undefined) {
        claimants.add(peer);
        const lateAtMs = lateFromMs(download, peer, claim, nowMs, options);
        if (lateAtMs <= nowMs) member.lateUntilMs = Math.max(member.lateUntilMs, lateAtMs + lateRestMs);
      }
      if (nowMs - claim.progressMs < options.originStallMs) continue;
      if (peer === self) download.isOwnTurnStalled = true;
      else if (member !== undefined)
        member.restsUntilMs = Math.max(member.restsUntilMs, claim.progressMs + stalledRestMs);
    }
  }
  for (const peer of claimants) noteWaiting(download, peer, passedMs, nowMs, options);
}

/** What turns that run bring. Of members the higher median of what they say counts: one alone is not believed, and it may be the slow one. */
function noteRunningTurns(download: DownloadState, nowMs: number): void {
  const { extents, firstOpenExtent, members } = download;
  let own: number | undefined;
  const others = new Map<PeerId, number>();
  for (let extent = firstOpenExtent; extent < extents.length; extent += 1) {
    const claims = extents[extent]?.claims;
    if (claims === undefined || claims.size === 0) continue;
    for (const [peer, { sinceMs, receivedBytes }] of claims) {
      const ageMs = nowMs - sinceMs;
      // Nothing at all is a stall, and no pace.
      if (ageMs < tellingMs || receivedBytes === 0) continue;
      const rate = (receivedBytes / ageMs) * 1_000;
      const member = members.get(peer);
      if (member === undefined) own = Math.max(own ?? 0, rate);
      else if (!isPassedBy(member, nowMs)) others.set(peer, Math.max(others.get(peer) ?? 0, rate));
    }
  }
  if (own !== undefined) download.ownTurnBytesPerSecond = own;
  if (others.size > 1)
    download.othersTurnBytesPerSecond = [...others.values()].sort((a, b) => a - b)[Math.floor(others.size / 2)];
  else if (download.originBytesPerSecond !== undefined) download.othersTurnBytesPerSecond = undefined;
}

// Long against the round trip of a request.
const tellingMs = 1_000;

/** Who gives turns up and takes them again, or leaves and comes back, has no more time for a piece than who goes on with one. */
function noteWaiting(
  download: DownloadState,
  peer: PeerId,
  passedMs: number,
  nowMs: number,
  options: ScheduleOptions,
): void {
  const { waits, members } = download;
  if (waits.size >= maxWaitedFor && !waits.has(peer)) waits.clear();
  const wait = waits.get(peer) ?? { sumMs: 0, lateUntilMs: 0 };
  waits.set(peer, wait);
  wait.sumMs += passedMs;
  const member = members.get(peer);
  if (member === undefined || download.isOriginWhole || wait.sumMs <= patienceMs(download, peer, options)) return;
  wait.lateUntilMs = nowMs + lateRestMs;
  member.lateUntilMs = Math.max(member.lateUntilMs, wait.lateUntilMs);
}

const maxWaitedFor = 1024;

/**
 * Whether it is this node's own turn that another says it has, and has nothing to show for: no words keep a node from its own turns for longer than
 * a few of them take.
 */
export function mayTakeBack(
  self: PeerId,
  download: DownloadState,
  extent: number,
  peer: PeerId,
  nowMs: number,
  options: ScheduleOptions,
): boolean {
  const state = download.extents[extent];
  if (state?.owner !== self || download.isOriginWhole || state.dueSinceMs === undefined) return false;
  // On slow links a piece takes longer than that, whoever reads it.
  const shownMs = Math.max(2 * options.originStallMs, shownPieces * usualPieceMs(download));
  if ((download.waits.get(peer)?.sumMs ?? 0) > shownMs) return true;
  return nowMs - state.dueSinceMs > patienceMs(download, peer, options);
}

// Turns share the link, and one of two pieces is half through when its first is there.
const shownPieces = 2;

/** How long a turn may take, or one with nothing to show for it. */
function patienceMs(download: DownloadState, peer: PeerId, options: ScheduleOptions): number {
  const usualMs = usualTurnMs(download, peer);
  if (usualMs === undefined) return longestPieceMs(download, options);
  return Math.max(2 * options.originStallMs, lateFactor * usualMs);
}

/** From when on a turn of another is late, however well it moves: its link may be far slower than those of the rest. */
function lateFromMs(
  download: DownloadState,
  peer: PeerId,
  claim: Claim,
  nowMs: number,
  { originStallMs }: ScheduleOptions,
): number {
  // One turn is the whole blob there.
  if (download.isOriginWhole || nowMs < claim.sinceMs + originStallMs) return Number.POSITIVE_INFINITY;
  const usualMs = usualTurnMs(download, peer);
  if (usualMs === undefined) return Number.POSITIVE_INFINITY;
  const lateMs = Math.max(originStallMs, lateFactor * usualMs);
  if (isNearlyThrough(claim, bytesOfExtent(download), lateMs, nowMs)) return Number.POSITIVE_INFINITY;
  return claim.sinceMs + lateMs;
}

/**
 * What the slowest turns of those that are believed take, but that one's: the median of them and of this node's own, so that neither
 * one that was lucky nor one that is slow, or says so, sets the measure; of two nobody knows which is which, and the own is taken.
 * Undefined = this node has had none, and so has nothing to hold against what is said.
 */
function usualTurnMs(download: DownloadState, peer: PeerId): number | undefined {
  const { slowestTurnMs: ownMs, members, distrusted } = download;
  if (ownMs === undefined) return undefined;
  const slowestMs = [ownMs];
  for (const member of members.values()) {
    const isCounted = member.peer !== peer && !member.isMute && !distrusted.has(member.peer);
    if (isCounted && member.slowestTurnMs !== undefined) slowestMs.push(member.slowestTurnMs);
  }
  slowestMs.sort((a, b) => a - b);
  const usualMs = slowestMs.length > 2 ? (slowestMs[Math.floor((slowestMs.length - 1) / 2)] ?? ownMs) : ownMs;
  // The first turn of a pull may have had the link for itself.
  return Math.max(usualMs, runningTurnMs(download));
}

/** How long turns take that run, at the pace of most of them; 0 = nothing is known of them. */
function runningTurnMs(download: DownloadState, rate = download.othersTurnBytesPerSecond): number {
  return rate === undefined ? 0 : Math.min(longestTurnMs, (bytesOfExtent(download) * 1_000) / Math.max(1, rate));
}

/** How long a turn has run that holds its owner up: whose turns all do is passed by. */
export function heldUpAfterMs(download: DownloadState): number {
  // Those of the others first: it may be this node's own link that is slow.
  const turnMs = runningTurnMs(download, download.othersTurnBytesPerSecond ?? seenTurnRate(download));
  return Math.max(leastHeldUpMs, lateFactor * turnMs);
}

// Long against messages, and against turns where nothing is held up.
const leastHeldUpMs = 1_000;

/** At its pace it will be through before another who began now. */
function isNearlyThrough(claim: Claim, sizeBytes: number, lateMs: number, nowMs: number): boolean {
  const { sinceMs, progressMs, receivedBytes } = claim;
  if (receivedBytes === 0 || nowMs >= sinceMs + 2 * lateMs) return false;
  const restMs = ((sizeBytes - receivedBytes) / receivedBytes) * (progressMs - sinceMs);
  return progressMs + restMs - nowMs < lateMs / lateFactor;
}

// An extent of 1 MiB at a quarter of a MiB per second, shared by eight.
const longestTurnMs = 32_000;

// Turns of one pull differ by less; a third of what others get is another kind of link.
const lateFactor = 3;

// Far less than any of the limits that are looked at.
const stallLookMs = 100;

// As long as an origin that never answers may be waited for; a member whose bytes move again is back at once.
const stalledRestMs = 20_000;
