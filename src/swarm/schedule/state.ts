import { Bitfield } from '../../content/bitfield.ts';
import type { PeerId } from '../../content/peer-id.ts';
import { extentOf, extentPieceRange, type PiecePlan, planPieces } from '../../content/piece-plan.ts';
import type { Digest } from '../../oci/digest.ts';

/**
 * What the scheduler knows. Changed only by `Scheduler`'s event methods, read by the decisions beside this file.
 * A piece of a download is: missing -> in flight (from peers, the origin, or both) -> held. Held never goes back except by `distrust`.
 */
export interface MemberState {
  readonly peer: PeerId;
  readonly have: Bitfield;
  /** Whether it is still fetching: only those take turns at the origin. */
  isFetching: boolean;
  canAskOrigin: boolean;
  /** Until when its turns at the origin pass to the next in rank because it let one go by without a word. */
  passedOverUntilMs: number;
  /** Until when its turns in a race pass to others because it let one go by: it does not race, though it is there. */
  sitsOutUntilMs: number;
  /** Until when they do because it gave one up itself, or one of its stands still. */
  restsUntilMs: number;
  /** Until when nobody waits for its turns, whatever it says, because one took far longer than those of the others. */
  lateUntilMs: number;
  /** The longest that a turn of it took from its claim until it held the extent; undefined before the first. */
  slowestTurnMs: number | undefined;
  /** Since when it says that it fetches from the origin without having got any piece; undefined = it does not. */
  undeliveredSinceMs: number | undefined;
  /** Pieces of which it sent a version that is not believed. */
  readonly doubted: Set<number>;
  /** Its peer is mute: what it alone holds counts as held by nobody, and its turns pass to others. */
  isMute: boolean;
}

/** A turn at the origin that somebody says has begun. */
export interface Claim {
  /** When it began; of several claimed at once, when the one before brought its last piece so far. */
  sinceMs: number;
  progressMs: number;
  receivedBytes: number;
}

/** How long this node has waited for turns that a peer said it had, since it last had a new piece to show. */
export interface TurnWait {
  sumMs: number;
  /** Until when nobody waits for it for that reason. */
  lateUntilMs: number;
}

export interface ExtentState {
  /** Pieces of the extent nobody alive holds, as far as its word is believed. */
  unheld: number;
  /** When this extent first became due here, for ranked takeover. */
  dueSinceMs: number | undefined;
  /** Whose turn it is since it began; undefined before. */
  owner: PeerId | undefined;
  claims: Map<PeerId, Claim>;
}

export interface DownloadState {
  readonly digest: Digest;
  readonly plan: PiecePlan;
  /** Lower comes first: the order of the manifest that named it. */
  readonly order: number;
  readonly held: Bitfield;
  readonly members: Map<PeerId, MemberState>;
  /** Caught lying about this blob, members or not: they have no turns, and what they hold does not count. */
  readonly distrusted: Set<PeerId>;
  /** Of each peer that said it had turns, also of those that left. */
  readonly waits: Map<PeerId, TurnWait>;
  /** Kept until `forgetOrders`. */
  readonly orders: Map<'turns' | 'fetchers', readonly PeerId[]>;
  /** Members (without this node) that hold each piece. */
  readonly availability: Uint16Array;
  /** Those of them that are not mute. */
  readonly believed: Uint16Array;
  /** Of all extents together. */
  unheld: number;
  /** Pieces that members hold and this node lacks. */
  readonly supplied: Set<number>;
  /** Where one member streams the whole blob: since when pieces that only it holds, and that are the share of another, were seen. */
  readonly loneSinceMs: Map<number, number>;
  /** Requests in flight for each piece. */
  readonly flights: Map<number, Set<RequestState>>;
  readonly extents: ExtentState[];
  /** Before it every piece is held by somebody alive. */
  firstOpenExtent: number;
  /** Pieces a client waits for, first needed first. */
  readonly readers: Map<number, number>;
  /** Until when nothing is asked of the origin: the directory has not answered yet, or the origin failed. */
  originNotBeforeMs: number;
  originFailures: number;
  /** Until when the others leave out this node, which gave a turn up. */
  restsUntilMs: number;
  /** False when the origin said no for good (404, 401, 403) or the repository is unknown. */
  canAskOrigin: boolean;
  /** The origin ignores Range: one owner streams the whole blob. */
  isOriginWhole: boolean;
  /** Smoothed, of this node's own turns; undefined before the first. */
  originBytesPerSecond: number | undefined;
  /** What a turn of this node that is not through got of the origin, and what members say of theirs that run, or ran while it had none; undefined = nothing was seen. */
  ownTurnBytesPerSecond: number | undefined;
  othersTurnBytesPerSecond: number | undefined;
  /** What each request brings where this node's own link seems to be full; undefined = it does not. */
  fullLinkShareBytesPerSecond: number | undefined;
  /** The most that all turns of this node at origins brought together in a second while no other took turns; 0 = others do. */
  loneOriginBytesPerSecond: number;
  /** When turns that stand still were last looked for. */
  stallsSeenMs: number;
  /** A turn of this node stood still then. */
  isOwnTurnStalled: boolean;
  /** The longest that a turn of this node took that ended well. */
  slowestTurnMs: number | undefined;
  /** For how many windows in a row the peers were far slower than the origin, and for how many more it races them (`supply.ts`). */
  slowWindows: number;
  racedWindows: number;
  /** Members are not believed any more: everything missing is read from the origin by this node. */
  isSelfReliant: boolean;
}

export interface RequestState {
  readonly id: number;
  readonly digest: Digest;
  /** Undefined = the origin. */
  readonly peer: PeerId | undefined;
  readonly first: number;
  readonly count: number;
  readonly startedMs: number;
  progressMs: number;
  receivedBytes: number;
  isHedged: boolean;
  /** Asks the origin for what slow peers hold: news of them is no reason to stop. */
  readonly isRace: boolean;
  /** When the answer began as if the pieces followed; undefined = it has not. */
  promisedMs: number | undefined;
  /** Nothing moved for so long that another was asked, or would have been. */
  stoodStill: boolean;
  /** Cancelled because nothing moved: its end counts against the peer. */
  isStalled: boolean;
}

export interface PeerState {
  readonly peer: PeerId;
  readonly requests: Set<RequestState>;
  inFlightBytes: number;
  /** Smoothed bytes per second of finished requests; undefined before the first. */
  rateBytesPerSecond: number | undefined;
  busyUntilMs: number;
  failures: number;
  /** How many answers in a row had pieces of signers that are not believed. */
  doubted: number;
  /** When bytes of a piece last came. */
  movedMs: number;
  /** Since when it has let this node wait for a first byte; undefined = it sends, or was not asked. */
  muteSinceMs: number | undefined;
  /** How often in a row it did not hold what it had said, or failed, since bytes of a piece last came. */
  unserved: number;
  /** Since when it answered without sending a piece, and until when it says that it will; undefined = the last answer brought one. */
  refused: { readonly sinceMs: number; readonly untilMs: number } | undefined;
  isBanned: boolean;
  isNear: boolean;
}

export function createDownloadState(input: {
  digest: Digest;
  sizeBytes: number;
  order: number;
  originNotBeforeMs: number;
  canAskOrigin: boolean;
  held: Iterable<number>;
}): DownloadState {
  const plan = planPieces(input.sizeBytes);
  const held = new Bitfield(plan.pieceCount);
  const extents: ExtentState[] = Array.from({ length: plan.extentCount }, (_, extent) => ({
    unheld: extentSize(plan, extent),
    dueSinceMs: undefined,
    owner: undefined,
    claims: new Map(),
  }));
  const download: DownloadState = {
    digest: input.digest,
    plan,
    order: input.order,
    held,
    members: new Map(),
    distrusted: new Set(),
    waits: new Map(),
    orders: new Map(),
    availability: new Uint16Array(plan.pieceCount),
    believed: new Uint16Array(plan.pieceCount),
    unheld: plan.pieceCount,
    supplied: new Set(),
    loneSinceMs: new Map(),
    flights: new Map(),
    extents,
    firstOpenExtent: 0,
    readers: new Map(),
    originNotBeforeMs: input.originNotBeforeMs,
    originFailures: 0,
    restsUntilMs: 0,
    canAskOrigin: input.canAskOrigin,
    isOriginWhole: false,
    originBytesPerSecond: undefined,
    ownTurnBytesPerSecond: undefined,
    othersTurnBytesPerSecond: undefined,
    fullLinkShareBytesPerSecond: undefined,
    loneOriginBytesPerSecond: 0,
    stallsSeenMs: Number.NEGATIVE_INFINITY,
    isOwnTurnStalled: false,
    slowestTurnMs: undefined,
    slowWindows: 0,
    racedWindows: 0,
    isSelfReliant: false,
  };
  for (const piece of input.held) markHeld(download, piece);
  return download;
}

export function createPeerState(peer: PeerId, isNear: boolean): PeerState {
  return {
    peer,
    requests: new Set(),
    inFlightBytes: 0,
    rateBytesPerSecond: undefined,
    busyUntilMs: 0,
    failures: 0,
    doubted: 0,
    movedMs: Number.NEGATIVE_INFINITY,
    muteSinceMs: undefined,
    unserved: 0,
    refused: undefined,
    isBanned: false,
    isNear,
  };
}

/** Of those banned first no more is known than of strangers; the list of bans (bans.ts) forgets them too. */
export function forgetOldBans(peers: Map<PeerId, PeerState>): void {
  const banned = [...peers.values()].filter(({ isBanned }) => isBanned);
  for (const { peer } of banned.slice(0, Math.max(0, banned.length - maxBanned))) peers.delete(peer);
}

const maxBanned = 1024;

function extentSize(plan: PiecePlan, extent: number): number {
  const range = extentPieceRange(plan, extent);
  return range.end - range.start;
}

/** Bytes of an extent behind the head, or of the whole of a small blob. */
export function bytesOfExtent({ plan }: DownloadState): number {
  return Math.min(plan.extentPieces * plan.pieceBytes, plan.sizeBytes);
}

/**
 * What a turn at the origin brings now: what those of this node brought, or bring, or else what members say of theirs. The first to take one may have had the
 * link for itself, and what the others say counts as far as a shared link explains it.
 */
export function seenTurnRate(download: DownloadState): number | undefined {
  const { originBytesPerSecond, ownTurnBytesPerSecond, othersTurnBytesPerSecond } = download;
  const own = Math.min(
    originBytesPerSecond ?? Number.POSITIVE_INFINITY,
    ownTurnBytesPerSecond ?? Number.POSITIVE_INFINITY,
  );
  if (othersTurnBytesPerSecond === undefined) return own === Number.POSITIVE_INFINITY ? undefined : own;
  if (own === Number.POSITIVE_INFINITY) return othersTurnBytesPerSecond;
  return Math.max(own / sharedBy, Math.min(own, othersTurnBytesPerSecond));
}

// As many as the window has.
const sharedBy = 8;

/** How long a piece takes at the origin, at most what anybody is patient for; 0 = nothing is seen of it. On slow links it takes as long elsewhere, and in a queue. */
export function usualPieceMs(download: DownloadState): number {
  const rate = seenTurnRate(download);
  return rate === undefined ? 0 : Math.min(longestUsualMs, (download.plan.pieceBytes * 1_000) / Math.max(1, rate));
}

const longestUsualMs = 10_000;

/** One turn at the origin brings all of it. */
export function isSmall(download: DownloadState): boolean {
  return download.plan.extentCount <= 1;
}

export function markHeld(download: DownloadState, piece: number): boolean {
  if (!download.held.add(piece)) return false;
  download.supplied.delete(piece);
  if (download.believed[piece] === 0) changeUnheld(download, piece, -1);
  return true;
}

export function unmarkHeld(download: DownloadState, piece: number): void {
  if (!download.held.delete(piece)) return;
  if (download.availability[piece] !== 0) download.supplied.add(piece);
  if (download.believed[piece] === 0) changeUnheld(download, piece, 1);
}

export function markMemberHas(download: DownloadState, member: MemberState, piece: number): boolean {
  if (!member.have.add(piece)) return false;
  download.availability[piece] = (download.availability[piece] ?? 0) + 1;
  if (!download.held.has(piece)) download.supplied.add(piece);
  if (!member.isMute) changeBelieved(download, piece, 1);
  return true;
}

/** Takes back that a member holds a piece, until it says so again. */
export function unmarkMemberHas(download: DownloadState, member: MemberState, piece: number): void {
  if (!member.have.delete(piece)) return;
  const left = (download.availability[piece] ?? 1) - 1;
  download.availability[piece] = left;
  if (left === 0) download.supplied.delete(piece);
  if (!member.isMute) changeBelieved(download, piece, -1);
}

/** From now on the member's word counts, or does not. */
export function setMute(download: DownloadState, member: MemberState, isMute: boolean): void {
  if (member.isMute === isMute) return;
  member.isMute = isMute;
  for (const piece of member.have) changeBelieved(download, piece, isMute ? -1 : 1);
  if (isMute) for (const extent of download.extents) extent.claims.delete(member.peer);
}

function changeBelieved(download: DownloadState, piece: number, by: 1 | -1): void {
  const before = download.believed[piece] ?? 0;
  download.believed[piece] = before + by;
  if (Math.min(before, before + by) === 0 && !download.held.has(piece)) changeUnheld(download, piece, -by);
}

export function dropMember(download: DownloadState, peer: PeerId): void {
  for (const extent of download.extents) extent.claims.delete(peer);
  const member = download.members.get(peer);
  if (member === undefined) return;
  download.members.delete(peer);
  forgetOrders(download);
  for (const piece of [...member.have]) unmarkMemberHas(download, member, piece);
}

/** A member came, went, or changed whether it fetches, can ask the origin, or is believed. */
export function forgetOrders(download: DownloadState): void {
  download.orders.clear();
}

/** Computes an order of members only when they have changed. */
export function orderOnce(
  download: DownloadState,
  name: 'turns' | 'fetchers',
  compute: () => PeerId[],
): readonly PeerId[] {
  const known = download.orders.get(name);
  if (known !== undefined) return known;
  const peers = compute();
  download.orders.set(name, peers);
  return peers;
}

function changeUnheld(download: DownloadState, piece: number, by: number): void {
  const at = extentOf(download.plan, piece);
  const extent = download.extents[at];
  if (extent === undefined) return;
  extent.unheld += by;
  download.unheld += by;
  if (extent.unheld > 0) {
    download.firstOpenExtent = Math.min(download.firstOpenExtent, at);
    return;
  }
  while (download.extents[download.firstOpenExtent]?.unheld === 0) download.firstOpenExtent += 1;
  // Should it be needed from the origin once more, that is a new turn.
  extent.dueSinceMs = undefined;
  extent.owner = undefined;
}

export function flightsOf(download: DownloadState, piece: number): ReadonlySet<RequestState> {
  return download.flights.get(piece) ?? noFlights;
}

const noFlights: ReadonlySet<RequestState> = new Set();

/** The extents a request covers. */
export function extentsOf(download: DownloadState, request: RequestState): number[] {
  const first = extentOf(download.plan, request.first);
  const last = extentOf(download.plan, request.first + request.count - 1);
  const extents = [first];
  for (let extent = first + 1; extent <= last; extent += 1) extents.push(extent);
  return extents;
}

export function isAllHeld(download: DownloadState, request: RequestState): boolean {
  for (let piece = request.first; piece < request.first + request.count; piece += 1) {
    if (!download.held.has(piece)) return false;
  }
  return true;
}

/** Whether everything the request still has to bring is held by members that are believed. */
export function isHeldByMembers(download: DownloadState, request: RequestState): boolean {
  for (let piece = request.first; piece < request.first + request.count; piece += 1) {
    if (!download.held.has(piece) && (download.believed[piece] ?? 0) === 0) return false;
  }
  return true;
}
