import type { PeerId } from '../../content/peer-id.ts';
import type { ScheduleOptions } from './options.ts';
import { type DownloadState, type PeerState, type RequestState, seenTurnRate, usualPieceMs } from './state.ts';
import { takesTurnsAlone } from './turn-order.ts';

/**
 * How fast peers bring what they hold, over all downloads, and whether the origin would bring it much sooner. Then it is read there
 * in turns, as if nobody held it, while the peers go on; who comes first wins. Judged over the whole node, since a download that
 * waits for others of the same node is not slow for want of peers.
 */
export class Supply {
  #windowSinceMs: number | undefined;
  #peerBytes = 0;
  #originBytes = 0;
  /** What they brought in the latest window in which the origin brought nothing. */
  #rateUnshared = Number.POSITIVE_INFINITY;
  #received = Number.POSITIVE_INFINITY;
  /** The most that peers brought per second in a window so far. */
  #rateBefore: number | undefined;
  /** The same of peers and origins together. */
  #mostReceived = 0;

  /** What came of peers and origins in the latest second that was looked at; infinity before the first. */
  get receivedBytesPerSecond(): number {
    return this.#received;
  }

  received(bytes: number, isFromPeer: boolean): void {
    if (isFromPeer) this.#peerBytes += bytes;
    else this.#originBytes += bytes;
  }

  /** This node could not listen for so long. */
  excuse(lostMs: number, nowMs: number): void {
    if (this.#windowSinceMs !== undefined) this.#windowSinceMs = Math.min(nowMs, this.#windowSinceMs + lostMs);
  }

  /** Says which downloads the origin should race the peers for. */
  judge(
    downloads: readonly DownloadState[],
    peers: ReadonlyMap<PeerId, PeerState>,
    nowMs: number,
    options: ScheduleOptions,
  ): void {
    let wantedBytes = 0;
    for (const download of downloads) wantedBytes += suppliedBytes(download);
    if (wantedBytes === 0) {
      this.#windowSinceMs = undefined;
      this.#rateBefore = undefined;
      this.#rateUnshared = Number.POSITIVE_INFINITY;
      this.#received = Number.POSITIVE_INFINITY;
      this.#mostReceived = 0;
      return;
    }
    this.#windowSinceMs ??= this.#start(nowMs);
    const windowMs = nowMs - this.#windowSinceMs;
    if (windowMs < judgedMsOf(options)) return;
    const rates: WindowRates = {
      before: this.#rateBefore,
      peers: (this.#peerBytes / windowMs) * 1_000,
      origin: (this.#originBytes / windowMs) * 1_000,
    };
    this.#received = rates.peers + rates.origin;
    if (this.#originBytes === 0) this.#rateUnshared = rates.peers;
    // Where this node's own link is what is slow, the origin only takes from the peers' share of it.
    const helps = this.#received > this.#rateUnshared * decisiveFactor;
    this.#rateBefore = Math.max(this.#rateBefore ?? 0, rates.peers);
    this.#mostReceived = Math.max(this.#mostReceived, this.#received);
    const isFull = this.#received >= this.#mostReceived * fullShare;
    const shareRate = evenShare(this.#received, peers);
    this.#windowSinceMs = this.#start(nowMs);
    for (const download of downloads) {
      if (!takesTurnsAlone(download)) download.loneOriginBytesPerSecond = 0;
      else if (helps) download.loneOriginBytesPerSecond = Math.max(download.loneOriginBytesPerSecond, rates.origin);
      // Less than the origin gives one turn fills no link.
      const isLinkFull = isFull && this.#received >= (originRate(download) ?? Number.POSITIVE_INFINITY);
      download.fullLinkShareBytesPerSecond = isLinkFull ? shareRate : undefined;
      const isSlow = isSlowNow(download, wantedBytes, rates);
      const needed = neededWindows(download, windowMs);
      countSlow(download, isSlow, needed, () => hasSlow(download, peers, nowMs, options));
    }
  }

  #start(nowMs: number): number {
    this.#peerBytes = 0;
    this.#originBytes = 0;
    return nowMs;
  }
}

/**
 * What a race brings is passed on quickly, so that peers look fast: it goes on while anything is left that only slow ones hold, and a few windows more. Nodes
 * that take turns end it at about the same time then; the turns of one that is out of it already would be waited for.
 */
function countSlow(download: DownloadState, isSlow: boolean, needed: number, hasSlowPieces: () => boolean): void {
  if (isSlow) {
    download.slowWindows = Math.min(needed, download.slowWindows + 1);
    if (download.slowWindows === needed) download.racedWindows = racedWindows;
  } else if (download.racedWindows === 0) download.slowWindows = 0;
  else if (!hasSlowPieces()) {
    download.racedWindows -= 1;
    download.slowWindows = needed - 1;
  }
}

function hasSlow(
  download: DownloadState,
  peers: ReadonlyMap<PeerId, PeerState>,
  nowMs: number,
  options: ScheduleOptions,
): boolean {
  for (const piece of download.supplied)
    if (isSlowlySupplied(download, piece, peers, nowMs, options, endingFactor)) return true;
  return false;
}

/** What each request to a peer would bring if all brought the same. */
function evenShare(receivedBytesPerSecond: number, peers: ReadonlyMap<PeerId, PeerState>): number {
  let requests = 0;
  for (const state of peers.values()) requests += state.requests.size;
  return receivedBytesPerSecond / Math.max(1, requests);
}

/** Bytes per second. */
interface WindowRates {
  /** From peers, in the best window before. */
  readonly before: number | undefined;
  readonly peers: number;
  readonly origin: number;
}

function isSlowNow(download: DownloadState, wantedBytes: number, rates: WindowRates): boolean {
  if (download.supplied.size === 0 || wantedBytes < rates.peers * worthwhileSeconds) return false;
  // Young swarms grow by themselves.
  if (rates.before !== undefined && rates.peers > rates.before * growing) return false;
  const origin = originRate(download);
  return origin === undefined ? rates.peers + rates.origin < slowBytesPerSecond : rates.peers * decisiveFactor < origin;
}

/** The pace of a turn at the origin; where no other takes turns, that of all turns of this node together if it is more. */
function originRate(download: DownloadState): number | undefined {
  const { originBytesPerSecond, loneOriginBytesPerSecond, ownTurnBytesPerSecond } = download;
  const rate = seenTurnRate(download);
  if (originBytesPerSecond !== undefined) return Math.max(rate ?? 0, loneOriginBytesPerSecond);
  // No words make the origin look faster than if nothing is known of it.
  return ownTurnBytesPerSecond ?? (rate && Math.min(rate, slowBytesPerSecond * decisiveFactor));
}

/** How many windows in a row are no accident. */
function neededWindows(download: DownloadState, windowMs: number): number {
  return Math.max(leastWindows, Math.ceil((2 * usualPieceMs(download)) / windowMs));
}

/** What members hold of it and this node lacks. */
function suppliedBytes({ plan, supplied }: DownloadState): number {
  return supplied.size * plan.pieceBytes;
}

/** Whether all who hold a piece are far slower than the origin, as far as they were tried, or send nothing of it. */
export function isSlowlySupplied(
  download: DownloadState,
  piece: number,
  peers: ReadonlyMap<PeerId, PeerState>,
  nowMs: number,
  options: ScheduleOptions,
  factor = decisiveFactor,
): boolean {
  const { fullLinkShareBytesPerSecond: shareRate } = download;
  const turnRate = (originRate(download) ?? slowBytesPerSecond * decisiveFactor) / factor;
  const slowRate = shareRate === undefined ? turnRate : Math.min(turnRate, shareRate / decisiveFactor);
  for (const member of download.members.values()) {
    const state = peers.get(member.peer);
    if (!member.have.has(piece) || state === undefined || state.isBanned) continue;
    // Where the link is full others bring as much as it takes, and the busy one may follow.
    if (shareRate === undefined && keepsRefusing(state, nowMs)) continue;
    const rate = presentRate(state, nowMs, options);
    if (rate === undefined || rate >= slowRate) return false;
  }
  return true;
}

/** Bytes per second of its finished requests, unless all that it has been asked for a while ago comes slower; undefined before it was tried. */
function presentRate(
  { rateBytesPerSecond, requests }: PeerState,
  nowMs: number,
  options: ScheduleOptions,
): number | undefined {
  const shownAfterMs = rateBytesPerSecond === undefined ? judgedMsOf(options) : options.peerStallMs;
  let best: number | undefined;
  for (const { startedMs, receivedBytes } of requests) {
    const ageMs = nowMs - startedMs;
    if (ageMs > shownAfterMs) best = Math.max(best ?? 0, (receivedBytes / ageMs) * 1_000);
  }
  if (rateBytesPerSecond === undefined || best === undefined) return rateBytesPerSecond ?? best;
  return Math.min(rateBytesPerSecond, best);
}

/** The peer answered that it is busy, or has not got what it said it had. */
export function noteRefused(state: PeerState, { startedMs }: Pick<RequestState, 'startedMs'>, nowMs: number): void {
  const { refused } = state;
  // Who was not asked for a while is asked anew.
  const isAnew = refused === undefined || state.movedMs > refused.sinceMs || nowMs - refused.untilMs > forgottenAfterMs;
  state.refused = { sinceMs: isAnew ? startedMs : refused.sinceMs, untilMs: Math.max(nowMs, state.busyUntilMs) };
}

/** However fast it was before: it may have stopped for good, and only its word says that it will go on. */
export function keepsRefusing({ refused }: PeerState, nowMs: number): boolean {
  return refused !== undefined && Math.min(nowMs, refused.untilMs) - refused.sinceMs > judgedMs;
}

/** Whether the origin should race the peers for what they hold. */
export function isRaced(download: DownloadState): boolean {
  return download.racedWindows > 0;
}

const leastWindows = 2;
// How long a race goes on that nothing needs any more.
const racedWindows = 4;

// A few pieces of the slowest links worth having; twice of it is about what a person notices.
const judgedMs = 1_000;
// A node that runs late is slow to ask and to listen, whatever its peers do: it judges later, as it is more patient with all else.
const judgedMsOf = ({ peerStallMs }: ScheduleOptions) => Math.max(judgedMs, peerStallMs / 2);
// Longer than the pauses between requests to a busy peer.
const forgottenAfterMs = 5_000;
// An end nearer than this is not worth bytes of the origin.
const worthwhileSeconds = 2;
// Each node of a healthy fleet takes pieces about as fast as one turn at the origin goes; this is far from it.
const decisiveFactor = 4;
// More than rates differ from window to window by themselves.
const growing = 1.25;
// A slow link that the race relieves of most requests brings the few that are left faster: to begin again would take seconds.
const endingFactor = 2;
// Where so much of the most that ever came comes, this node's own link may be what is slow: peers share it then, and one is slow beside the others only.
const fullShare = 0.8;
// When this node has not asked the origin for the blob yet: slower than origins usually are, so that a try is worth its bytes.
const slowBytesPerSecond = 1024 * 1024;
