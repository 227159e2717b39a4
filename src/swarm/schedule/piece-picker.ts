import type { PeerId } from '../../content/peer-id.ts';
import { pieceRange } from '../../content/piece-plan.ts';
import type { Random } from '../../lib/clock.ts';
import type { ScheduleOptions } from './options.ts';
import { type DownloadState, flightsOf, isSmall, type MemberState, orderOnce, type PeerState } from './state.ts';

/**
 * Which pieces to ask which peer for. First what a waiting client needs next, in order; then the rarest, ties at random (Legout et al.,
 * IMC 2006: without random ties, nodes that start together all want the same piece). Where nobody else fetches, ties go in order. The supplier
 * is the holder that is expected to be done first. Pure but for the injected randomness. O(pieces on offer + picks * suppliers).
 */
export interface PiecePick {
  readonly download: DownloadState;
  readonly peer: PeerId;
  readonly first: number;
  readonly count: number;
}

interface Candidate {
  readonly download: DownloadState;
  readonly piece: number;
  /** Distance from a reader, or `notUrgent`. */
  readonly urgency: number;
  readonly rarity: number;
  readonly tie: number;
  /** Others than seeds have it, and the seeds have more to do. */
  readonly isSeedSpared: boolean;
}

// What few hold and many lack would leave its holders once for each of the many, if each began with the next piece it needs: each
// takes its share of it first, in order, and the rest from the others.
const scarceFactor = 2;
// Pieces that clients wait for are asked for sooner, but never of the only holder: all clients wait for the same ones.
const awaitedFactor = 8;
// Small blobs come right behind what a client waits for.
const smallUrgency = 500_000;
const sharedUrgency = 1_000_000;
const notUrgent = 2_000_000;
const lastResort = 3_000_000;

export function pickPieces(
  self: PeerId,
  downloads: readonly DownloadState[],
  peers: ReadonlyMap<PeerId, PeerState>,
  budget: { requests: number; bytes: number },
  nowMs: number,
  random: Random,
  options: ScheduleOptions,
): PiecePick[] {
  if (budget.requests <= 0 || budget.bytes <= 0) return [];
  const candidates = listCandidates(self, downloads, nowMs, random, options);
  if (candidates.length === 0) return [];
  candidates.sort((a, b) => a.urgency - b.urgency || a.rarity - b.rarity || a.tie - b.tie);
  const round: Round = { peers, load: new Map(), suppliers: 0, meanRate: meanRateOf(peers), nowMs, random, options };
  for (const state of peers.values()) {
    round.load.set(state.peer, { requests: state.requests.size, bytes: state.inFlightBytes });
    if (state.requests.size > 0) round.suppliers += 1;
  }
  const picks: PiecePick[] = [];
  const taken = new Set<string>();
  let { requests, bytes } = budget;
  for (const candidate of candidates) {
    const { download, piece } = candidate;
    if (requests <= 0 || bytes <= 0) break;
    const key = `${download.digest}/${piece}`;
    if (taken.has(key)) continue;
    const supplier = chooseSupplier(round, candidate);
    if (supplier === undefined) continue;
    const own = round.load.get(supplier.peer) ?? { requests: 0, bytes: 0 };
    const count = runLength(download, piece, supplier, bytes, taken, round.meanRate);
    let runBytes = 0;
    for (let at = piece; at < piece + count; at += 1) {
      taken.add(`${download.digest}/${at}`);
      const range = pieceRange(download.plan, at);
      runBytes += range.end - range.start;
    }
    if (own.requests === 0) round.suppliers += 1;
    round.load.set(supplier.peer, { requests: own.requests + 1, bytes: own.bytes + runBytes });
    picks.push({ download, peer: supplier.peer, first: piece, count });
    requests -= 1;
    bytes -= runBytes;
  }
  return picks;
}

/** One round of choices, and what those made so far have put on each peer. */
interface Round {
  readonly peers: ReadonlyMap<PeerId, PeerState>;
  readonly load: Map<PeerId, { readonly requests: number; readonly bytes: number }>;
  suppliers: number;
  readonly meanRate: number;
  readonly nowMs: number;
  readonly random: Random;
  readonly options: ScheduleOptions;
}

/** Tells whether a peer may be asked now. */
export function isUsable(state: PeerState | undefined, nowMs: number): state is PeerState {
  return state !== undefined && !state.isBanned && state.busyUntilMs <= nowMs;
}

function listCandidates(
  self: PeerId,
  downloads: readonly DownloadState[],
  nowMs: number,
  random: Random,
  options: ScheduleOptions,
): Candidate[] {
  const candidates: Candidate[] = [];
  for (const [place, download] of downloads.entries()) {
    if (download.supplied.size === 0) continue;
    const fetchers = fetchersOf(self, download);
    const isLone = fetchers.length === 1 && download.held.count >= heardAfterPieces;
    const tieOf = (piece: number) =>
      isLone ? (place + piece / download.plan.pieceCount) / downloads.length : random.next();
    const spared = sparedSeeds(download, fetchers.length);
    for (const piece of download.supplied) {
      const rarity = download.availability[piece] ?? 0;
      if (download.held.has(piece) || flightsOf(download, piece).size > 0) continue;
      const nearest = urgencyOf(download, piece, options.readerWindowPieces);
      const urgency = nearest === notUrgent && isSmall(download) ? smallUrgency : nearest;
      const isSeedSpared = spared > 0 && rarity > spared;
      const isAwaited = nearest !== notUrgent && rarity > 1 && rarity * awaitedFactor > fetchers.length;
      if (isAwaited || piece === 0 || rarity * scarceFactor > fetchers.length) {
        candidates.push({ download, piece, urgency, rarity, tie: tieOf(piece), isSeedSpared });
        continue;
      }
      const isOwn = fetchers[piece % fetchers.length] === self;
      if (!isOwn && rarity === 1 && download.isOriginWhole && !isOverdue(download, piece, nowMs)) continue;
      candidates.push({
        download,
        piece,
        urgency: isOwn ? sharedUrgency : lastResort,
        rarity,
        tie: isOwn ? piece : tieOfOthers(download, piece, fetchers, self, random),
        isSeedSpared,
      });
    }
  }
  return candidates;
}

// In order the digest is computed, files are read and written, and layers are complete while the rest comes. Only where nobody else fetches: who begins with
// others does not know of them at once, but does by the time it has got something.
const heardAfterPieces = 8;

/**
 * Whether the one whose share it is has had its time to pass on what only the member holds that streams the whole blob: pieces come one after another there,
 * the others have nothing else to ask for, and each would ask that one member.
 */
function isOverdue({ loneSinceMs }: DownloadState, piece: number, nowMs: number): boolean {
  const sinceMs = loneSinceMs.get(piece) ?? nowMs;
  loneSinceMs.set(piece, sinceMs);
  return nowMs - sinceMs >= passOnMs;
}

// A piece of 512 KiB through a tenth of a link of 5 MiB/s.
const passOnMs = 1_000;

/**
 * Who is done with its share helps those that are not: each begins with other pieces, the last first, as those whose share it is come from the front. At
 * random, the helpers asked the only holder for the same few pieces.
 */
function tieOfOthers(
  { plan }: DownloadState,
  piece: number,
  fetchers: readonly PeerId[],
  self: PeerId,
  random: Random,
): number {
  const isNext = fetchers[Math.floor(piece / fetchers.length) % fetchers.length] === self;
  return isNext ? -piece / plan.pieceCount : random.next();
}

/** This node and the members that fetch too, in an order that all of them know. */
function fetchersOf(self: PeerId, download: DownloadState): readonly PeerId[] {
  return orderOnce(download, 'fetchers', () => {
    const fetchers = [self];
    for (const member of download.members.values()) if (member.isFetching) fetchers.push(member.peer);
    return fetchers.sort();
  });
}

/**
 * How many hold everything, or stream it, if they are few and hold something that no other does: they are left to send that, and what
 * others have got is taken from those. 0 = nobody is spared.
 */
function sparedSeeds(download: DownloadState, fetchers: number): number {
  let seeds = 0;
  for (const member of download.members.values()) if (isSeed(download, member)) seeds += 1;
  if (seeds === 0 || seeds * scarceFactor > fetchers) return 0;
  for (const piece of download.supplied) if ((download.availability[piece] ?? 0) <= seeds) return seeds;
  return 0;
}

function isSeed(
  { isOriginWhole, extents, firstOpenExtent }: DownloadState,
  { peer, isFetching }: MemberState,
): boolean {
  return !isFetching || (isOriginWhole && extents[firstOpenExtent]?.claims.has(peer) === true);
}

function urgencyOf(download: DownloadState, piece: number, window: number): number {
  let nearest = notUrgent;
  for (const at of download.readers.values()) {
    const distance = piece - at;
    if (distance >= 0 && distance < window && distance < nearest) nearest = distance;
  }
  return nearest;
}

function chooseSupplier(round: Round, { download, piece, isSeedSpared }: Candidate): PeerState | undefined {
  const { peers, load, meanRate, nowMs, random, options } = round;
  const range = pieceRange(download.plan, piece);
  // Among many a second connection to one costs a handshake and gains nothing.
  const perPeer = download.members.size >= manyMembers ? 1 : options.maxRequestsPerPeer;
  let best: PeerState | undefined;
  let bestWait = Number.POSITIVE_INFINITY;
  for (const member of download.members.values()) {
    if (!member.have.has(piece) || (isSeedSpared && isSeed(download, member))) continue;
    const state = peers.get(member.peer);
    if (!isUsable(state, nowMs)) continue;
    const own = load.get(member.peer) ?? { requests: 0, bytes: 0 };
    if (own.requests >= (member.isMute ? 1 : perPeer)) continue;
    if (own.requests === 0 && round.suppliers >= options.maxSuppliers) continue;
    // A little noise spreads the choice among equals and keeps exploring peers whose rate is only believed.
    const noise = 0.75 + random.next() / 2;
    const rate = member.isMute
      ? muteRate
      : (state.rateBytesPerSecond ?? meanRate) * (state.isNear ? nearFactor : 1) * noise;
    const wait = (own.bytes + range.end - range.start) / rate;
    if (wait < bestWait) {
      bestWait = wait;
      best = state;
    }
  }
  return best;
}

// So that anybody else goes first.
const muteRate = 1;
const manyMembers = 4;

// A near peer wins unless it is three times slower: same-zone traffic is usually free and short.
const nearFactor = 3;

/** Several pieces per request from a fast peer, one from a slow one: about 50 ms of transfer, at most 4 MiB. */
function runLength(
  download: DownloadState,
  first: number,
  supplier: PeerState,
  budgetBytes: number,
  taken: ReadonlySet<string>,
  meanRate: number,
): number {
  const member = download.members.get(supplier.peer);
  const target = Math.min(4 * 1024 * 1024, budgetBytes, (supplier.rateBytesPerSecond ?? meanRate) * 0.05);
  let count = 1;
  for (let piece = first + 1; piece < download.plan.pieceCount; piece += 1) {
    const isWanted =
      member?.have.has(piece) === true &&
      !download.held.has(piece) &&
      flightsOf(download, piece).size === 0 &&
      !taken.has(`${download.digest}/${piece}`);
    if (!isWanted || (count + 1) * download.plan.pieceBytes > target || count >= maxRunPieces) break;
    count += 1;
  }
  return count;
}

// The bulk plane carries the signatures of a run in one header of bounded size.
const maxRunPieces = 8;

// Before anything is measured: a middling NIC, so that neither a slow nor a fast peer looks absurd.
const presumedRate = 20 * 1024 * 1024;

function meanRateOf(peers: ReadonlyMap<PeerId, PeerState>): number {
  let sum = 0;
  let count = 0;
  for (const state of peers.values()) {
    if (state.rateBytesPerSecond === undefined) continue;
    sum += state.rateBytesPerSecond;
    count += 1;
  }
  return count === 0 ? presumedRate : sum / count;
}
