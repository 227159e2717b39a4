import type { PeerId } from '../../content/peer-id.ts';
import { extentPieceRange, runRange } from '../../content/piece-plan.ts';
import { heldUpAfterMs, judgeTurns, mayTakeBack } from './late-turns.ts';
import type { ScheduleOptions } from './options.ts';
import { areTurnsFast, countOwnTurns, turnsAtOnce } from './own-turns.ts';
import { bytesOfExtent, type DownloadState, type ExtentState, isSmall, type PeerState } from './state.ts';
import { isRaced, isSlowlySupplied } from './supply.ts';
import { holdsExtent, isPassedBy, ownerOf, rankOf, takesTurnsAlone, turnOrder } from './turn-order.ts';

/**
 * Who asks the origin for what, and when, so that each byte leaves it once.
 *
 * All extents nobody holds form one sequence: small blobs first, then the heads of large ones, then downloads by order, extents by
 * index. The first `originWindowExtents` of it are due, fewer at the start: few enough that each comes at a good share of the origin's link
 * and is passed on while the next ones come. Members take turns, drawn in rounds by rendezvous weight so that neighbours in the sequence are
 * on different uplinks. The k-th behind the owner starts when `k * takeoverMs` went by without a claim, or when the claims there
 * stopped moving or take far longer than those of the others.
 * Two who claim the same (they saw different members): the higher weight goes on, the other stops.
 * Pure: no clock, no I/O; `nowMs` comes in.
 */
export interface OriginTurn {
  readonly download: DownloadState;
  /** The extents the run covers, to be claimed. */
  readonly extents: readonly number[];
  readonly first: number;
  readonly count: number;
  /** Peers hold it, and bring it too slowly. */
  readonly isRace: boolean;
}

export function originTurns(
  self: PeerId,
  downloads: readonly DownloadState[],
  nowMs: number,
  options: ScheduleOptions,
  peers: ReadonlyMap<PeerId, PeerState> = new Map(),
): { turns: OriginTurn[]; wakeAtMs: number } {
  const look: Look = {
    self,
    nowMs,
    options,
    peers,
    turns: [],
    given: new Map(),
    load: new Map(),
    windowExtents: windowExtentsOf(downloads, nowMs, options),
    wakeAtMs: Number.POSITIVE_INFINITY,
    openBytes: 0,
  };
  const open: DownloadState[] = [];
  for (const download of downloads) if (download.unheld > 0 || isRaced(download)) open.push(download);
  for (const download of open) judgeTurns(self, download, nowMs, options);
  lookAtAll(look, open);
  return { turns: look.turns, wakeAtMs: look.wakeAtMs };
}

/** One look at everything open, and what it has found so far. */
interface Look {
  readonly self: PeerId;
  readonly nowMs: number;
  readonly options: ScheduleOptions;
  readonly peers: ReadonlyMap<PeerId, PeerState>;
  readonly turns: OriginTurn[];
  /** The first extent behind those of the turns found, of downloads that have one. */
  readonly given: Map<DownloadState, number>;
  /** Bytes of the turns that are held up, by who has them. */
  readonly load: Map<PeerId, number>;
  readonly windowExtents: number;
  wakeAtMs: number;
  openBytes: number;
}

/**
 * A blob of one extent is not worth waiting behind a large one: clients take several at once, and one that is done makes room for the
 * next. For the same reason the first extent of each large blob comes before the rest of any: a client that turns to it has bytes at
 * once. Half of the window is left to the rest, however many blobs there are; but as few as it starts with may all be first extents, since a
 * client asks for about that many at once.
 */
function lookAtAll(look: Look, open: readonly DownloadState[]): void {
  const headShare = Math.max(1 / 2, Math.min(1, look.options.originWindowStartExtents / look.windowExtents));
  for (const download of open) if (isSmall(download) && lookAt(look, download, 0, 1, 1 / 2)) return;
  for (const download of open) if (!isSmall(download) && lookAt(look, download, 0, 1, headShare)) return;
  for (const download of open) {
    const from = isRaced(download) ? 1 : Math.max(1, download.firstOpenExtent);
    if (!isSmall(download) && lookAt(look, download, from, download.plan.extentCount, 1)) return;
  }
}

/** Looks at the extents of one blob from `from` to `to` while less than `share` of the window is open; tells whether all of it is. */
function lookAt(look: Look, download: DownloadState, from: number, to: number, share: number): boolean {
  const { extents } = download;
  // Small blobs count by bytes, so that many of them can be on their way at once: their cost is round trips, not bandwidth.
  const countedBytes = bytesOfExtent(download);
  // Alone there is nobody to pass anything on to.
  const windowExtents = staysAlone(look, download) ? look.options.originWindowExtents : look.windowExtents;
  const windowBytes = windowBytesOf(download, windowExtents);
  const isRace = isRaced(download);
  const heldUpSinceMs = look.nowMs - heldUpAfterMs(download);
  for (let extent = from; extent < to; extent += 1) {
    if (look.openBytes >= windowBytes * share) break;
    const state = extents[extent];
    if (state === undefined) continue;
    if (state.unheld === 0 && !(isRace && isSlow(download, extent, look))) continue;
    look.openBytes += countedBytes;
    for (const [peer, { sinceMs }] of state.claims)
      if (sinceMs <= heldUpSinceMs) look.load.set(peer, (look.load.get(peer) ?? 0) + countedBytes);
    lookAtExtent(look, download, extent, state, isRace);
  }
  return look.openBytes >= windowBytes;
}

// Not a part of the loop above: that is hot, and V8 takes a tenth of a second of CPU to optimize both in one.
function lookAtExtent(look: Look, download: DownloadState, extent: number, state: ExtentState, isRace: boolean): void {
  const { self, nowMs } = look;
  state.dueSinceMs ??= nowMs;
  if (!download.canAskOrigin || extent < (look.given.get(download) ?? 0)) return;
  if (nowMs < download.originNotBeforeMs) {
    look.wakeAtMs = Math.min(look.wakeAtMs, download.originNotBeforeMs);
    return;
  }
  // The owner of the whole is that of the first open extent.
  if (download.isOriginWhole && extent !== download.firstOpenExtent) return;
  const order = turnOrder(self, download);
  state.owner = ownerOf(order, download, extent);
  // Most of what is due is under way: no more is looked at then.
  const quietSinceMs = quietSince(self, download, extent, state, nowMs, look.options);
  if (quietSinceMs > nowMs) {
    look.wakeAtMs = Math.min(look.wakeAtMs, quietSinceMs);
    return;
  }
  const run = download.isOriginWhole ? wholeRun(download, extent) : missingRun(download, extent, isRace);
  if (run === undefined) return;
  const takers = takersOf(download, order, nowMs);
  if (extent > 0 && waitsForOwn(look, download, takers)) return;
  const busy = busyOf(look, download, takers);
  if (busy.has(self)) return;
  const rank = rankOf(self, order, download, extent, nowMs, busy);
  const ahead = Math.max(0, rank - claimantsOf(look, download, extent, state));
  const startAtMs = quietSinceMs + ahead * look.options.takeoverMs;
  if (startAtMs > nowMs) {
    look.wakeAtMs = Math.min(look.wakeAtMs, startAtMs);
    return;
  }
  // The origin does not answer this node: the others may have more luck.
  if (download.isOwnTurnStalled && !isAlone(download)) return;
  const turn = turnFrom(look, download, extent, run, isRace);
  look.given.set(download, (turn.extents.at(-1) ?? extent) + 1);
  look.turns.push(turn);
}

/** Whether this node has as many turns as it has at once: when one is through, the next begins. */
function waitsForOwn({ self, options, turns }: Look, download: DownloadState, takers: number): boolean {
  if (areTurnsFast(download)) return false;
  const begun = turns.filter((turn) => turn.download === download && turn.first > 0).length;
  return countOwnTurns(self, download) + begun >= turnsAtOnce(download, takers, options);
}

/** How many take the turns that come to them, this node among them. */
function takersOf(download: DownloadState, order: readonly PeerId[], nowMs: number): number {
  let takers = 0;
  for (const peer of order) {
    const member = download.members.get(peer);
    if (member === undefined || !isPassedBy(member, nowMs)) takers += 1;
  }
  return takers;
}

/**
 * Who is held up with as many turns as it has at once, or its share of the window and one more: that must not grow to the whole window, or all wait for
 * its link. Only what takes so long that nodes agree about it counts; where turns are quick, two would begin the same.
 */
function busyOf({ load, options }: Look, download: DownloadState, takers: number): ReadonlySet<PeerId> {
  if (load.size === 0 || download.isOriginWhole || takers === 1) return nobody;
  const shareBytes = Math.min(
    windowBytesOf(download, options.originWindowExtents) / takers + bytesOfExtent(download),
    turnsAtOnce(download, takers, options) * bytesOfExtent(download),
  );
  return new Set([...load.keys()].filter((peer) => (load.get(peer) ?? 0) >= shareBytes));
}

const nobody: ReadonlySet<PeerId> = new Set();

function windowBytesOf({ plan }: DownloadState, extents: number): number {
  return extents * Math.max(plan.extentPieces * plan.pieceBytes, extentBytes);
}

/**
 * All turns begun at once would share the origin's link and be through together, and nobody would have anything to pass on before:
 * the window opens with what somebody holds of what this node pulls, and with time, lest all wait for a few that do not move.
 */
function windowExtentsOf(downloads: readonly DownloadState[], nowMs: number, options: ScheduleOptions): number {
  const { originWindowExtents, originWindowStartExtents } = options;
  const pulls = downloads.filter(({ canAskOrigin }) => canAskOrigin);
  let sinceMs = nowMs;
  for (const { originNotBeforeMs } of pulls) sinceMs = Math.min(sinceMs, originNotBeforeMs);
  let window = originWindowStartExtents + Math.floor((nowMs - sinceMs) / windowStepMs);
  for (const download of pulls) {
    // The window is counted in larger extents where a blob has them.
    const share = Math.min(1, bytesOfExtent(download) / extentBytes);
    for (const { unheld } of download.extents) {
      if (window >= originWindowExtents) return originWindowExtents;
      if (unheld === 0) window += share;
    }
  }
  return Math.min(originWindowExtents, window);
}

const windowStepMs = 250;

function turnFrom(
  look: Look,
  download: DownloadState,
  extent: number,
  run: { first: number; count: number },
  isRace: boolean,
): OriginTurn {
  if (download.isOriginWhole) return { download, isRace, extents: [...download.extents.keys()], ...run };
  if (staysAlone(look, download) && !isRace) return { download, isRace, ...longRun(download, extent, run) };
  return { download, isRace, extents: [extent], ...run };
}

const extentBytes = 1024 * 1024;
// Alone, nothing is gained by short turns, and each request costs the origin's round trip. Not longer, since others may start
// the same pull a moment later and should find most of it free.
const longRunBytes = 4 * 1024 * 1024;

/** Since when nobody moves the extent; later than now while somebody does, infinity while this node's own request runs. */
function quietSince(
  self: PeerId,
  download: DownloadState,
  extent: number,
  state: ExtentState,
  nowMs: number,
  options: ScheduleOptions,
): number {
  if (state.claims.has(self)) return Number.POSITIVE_INFINITY;
  // Before this node may ask, the others may not have been allowed to either.
  let sinceMs = Math.max(state.dueSinceMs ?? nowMs, download.originNotBeforeMs);
  if (download.isSelfReliant) return sinceMs;
  for (const [peer, { progressMs }] of state.claims) {
    // Who started and stopped moving counts as gone, the best of the rest goes first.
    if (isWaitedFor(self, download, peer, extent, nowMs, options))
      sinceMs = Math.max(sinceMs, progressMs + options.originStallMs);
  }
  return sinceMs;
}

/** How many of those in rank have begun the extent and stopped moving: nobody waits for them once more. */
function claimantsOf(
  { self, nowMs, options }: Look,
  download: DownloadState,
  extent: number,
  { claims }: ExtentState,
): number {
  let claimants = 0;
  if (download.isSelfReliant) return claimants;
  for (const peer of claims.keys()) {
    const isResting = (download.members.get(peer)?.restsUntilMs ?? 0) > nowMs;
    if (!isResting && isWaitedFor(self, download, peer, extent, nowMs, options)) claimants += 1;
  }
  return claimants;
}

/** A turn that brought it all is over, and for one that is late nobody waits, nor for long where it is this node's own. */
function isWaitedFor(
  self: PeerId,
  download: DownloadState,
  peer: PeerId,
  extent: number,
  nowMs: number,
  options: ScheduleOptions,
): boolean {
  const member = download.members.get(peer);
  if ((member?.lateUntilMs ?? 0) > nowMs || holdsExtent(member, download, extent)) return false;
  return !mayTakeBack(self, download, extent, peer, nowMs, options);
}

function isAlone(download: DownloadState): boolean {
  return !download.isOriginWhole && takesTurnsAlone(download);
}

/**
 * Who comes a moment later, or is heard a moment later on a busy machine, has turns of its own: the first to start leaves them to it, and would have
 * read what it gives up then in vain.
 */
function staysAlone({ peers, nowMs }: Look, download: DownloadState): boolean {
  return isAlone(download) && (peers.size === 0 || nowMs - download.originNotBeforeMs >= aloneAfterMs);
}

const aloneAfterMs = 1_000;

/** Goes on over the extents behind, as long as all their pieces are wanted and nobody fetches them. */
function longRun(download: DownloadState, extent: number, run: { first: number; count: number }) {
  const { plan } = download;
  const extents = [extent];
  let end = run.first + run.count;
  // A quarter of the blob at most, so that a few requests run side by side.
  const limitBytes = Math.min(longRunBytes, plan.sizeBytes / 4);
  for (let next = extent + 1; next < plan.extentCount && end === extentPieceRange(plan, next).start; next += 1) {
    const range = extentPieceRange(plan, next);
    const state = download.extents[next];
    const { start, end: endBytes } = runRange(plan, run.first, range.end - run.first);
    if (state?.unheld !== range.end - range.start || state.claims.size > 0 || endBytes - start > limitBytes) break;
    extents.push(next);
    end = range.end;
  }
  return { extents, first: run.first, count: end - run.first };
}

/** Whether this node lacks something of the extent that only slow peers hold. */
function isSlow(download: DownloadState, extent: number, { peers, nowMs, options }: Look): boolean {
  const range = extentPieceRange(download.plan, extent);
  for (let piece = range.start; piece < range.end; piece += 1) {
    if (!download.held.has(piece) && isSlowlySupplied(download, piece, peers, nowMs, options)) return true;
  }
  return false;
}

/** The pieces of the extent this node lacks and, but in a race, nobody holds, as one run. */
function missingRun(
  download: DownloadState,
  extent: number,
  isRace: boolean,
): { first: number; count: number } | undefined {
  const range = extentPieceRange(download.plan, extent);
  let first = -1;
  let last = -1;
  for (let piece = range.start; piece < range.end; piece += 1) {
    if (download.held.has(piece) || (!isRace && (download.believed[piece] ?? 0) > 0)) continue;
    if (first < 0) first = piece;
    last = piece;
  }
  return first < 0 ? undefined : { first, count: last - first + 1 };
}

function wholeRun(download: DownloadState, extent: number): { first: number; count: number } | undefined {
  const isFirstOpen = download.extents.findIndex((state) => state.unheld > 0) === extent;
  return isFirstOpen ? { first: 0, count: download.plan.pieceCount } : undefined;
}
