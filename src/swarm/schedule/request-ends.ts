import type { PeerId } from '../../content/peer-id.ts';
import { extentPieceRange } from '../../content/piece-plan.ts';
import type { Random } from '../../lib/clock.ts';
import { forgetHave, passedOverMs } from './member-events.ts';
import { silencePatienceMs } from './mute-peers.ts';
import type { ScheduleOptions } from './options.ts';
import type { RequestDurations } from './request-durations.ts';
import {
  bytesOfExtent,
  type DownloadState,
  dropMember,
  extentsOf,
  flightsOf,
  type PeerState,
  type RequestState,
} from './state.ts';
import { noteRefused } from './supply.ts';

/** How a request ended, and what that changes: rates, pauses, and who is believed. */
export type RequestOutcome =
  | { readonly kind: 'done'; readonly bytes: number }
  /** All came, some of it as read by somebody whom this node does not believe: the sender may not know that yet. */
  | { readonly kind: 'doubted'; readonly bytes: number }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'busy'; readonly retryAfterMs: number }
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed' }
  | { readonly kind: 'originFailed'; readonly isFinal: boolean; readonly retryAfterMs: number | undefined };

interface Moment {
  readonly nowMs: number;
  readonly random: Random;
}

/** A peer whose word on the download is not believed any more, until it is asked again after the pause and answers. */
export interface Doubt {
  readonly peer: PeerId;
  readonly pauseMs: number;
}

export function applyPeerEnd(
  state: PeerState,
  download: DownloadState | undefined,
  request: RequestState & { readonly peer: PeerId },
  outcome: RequestOutcome,
  durations: RequestDurations,
  { nowMs, random }: Moment,
): Doubt | undefined {
  // The peer was lost and came back meanwhile: this is not its request.
  if (!state.requests.delete(request)) return undefined;
  if (download !== undefined) state.inFlightBytes -= request.count * download.plan.pieceBytes;
  const ms = Math.max(1, nowMs - request.startedMs);
  if (outcome.kind === 'done') {
    noteRate(state, outcome.bytes, ms);
    state.failures = 0;
    state.doubted = 0;
    state.refused = undefined;
    durations.add(outcome.bytes, ms);
  } else if (outcome.kind === 'doubted' && state.doubted < mostDoubted && !isDoubtedAgain(download, request)) {
    state.doubted += 1;
  } else if (outcome.kind === 'cancelled' && ms > tellingMs) {
    // Others were faster: it shows no more than how slow the peer was.
    if ((request.receivedBytes / ms) * 1_000 < (state.rateBytesPerSecond ?? 0))
      noteRate(state, request.receivedBytes, ms);
  } else if (outcome.kind === 'busy') {
    state.busyUntilMs = nowMs + outcome.retryAfterMs * (0.5 + random.next());
  } else if (outcome.kind === 'absent' && download !== undefined) {
    forgetHave(download, request);
  } else if (outcome.kind === 'failed' || outcome.kind === 'doubted') {
    state.failures += 1;
    state.busyUntilMs = nowMs + Math.min(30_000, 200 * 2 ** state.failures) * (0.5 + random.next() / 2);
    // What only this peer holds would otherwise wait for it while the origin could give it.
    if (download !== undefined) dropMember(download, request.peer);
    return { peer: request.peer, pauseMs: state.busyUntilMs - nowMs };
  }
  if (outcome.kind === 'busy' || outcome.kind === 'absent') noteRefused(state, request, nowMs);
  return undefined;
}

// While it is found out who signed wrong pieces, honest members pass on some of them.
const mostDoubted = 8;

/** Whether the peer has said once more that it holds what it sent in a version that is not believed, and sent that again; notes it else. */
function isDoubtedAgain(
  download: DownloadState | undefined,
  request: RequestState & { readonly peer: PeerId },
): boolean {
  const member = download?.members.get(request.peer);
  if (member === undefined) return false;
  let isAgain = false;
  for (let piece = request.first; piece < request.first + request.count; piece += 1) {
    if (member.have.has(piece) || download?.held.has(piece) === true) continue;
    if (member.doubted.has(piece)) isAgain = true;
    member.doubted.add(piece);
  }
  return isAgain;
}

/** Smooths over some requests, and over a few seconds where they take longer: what a peer did long ago says little then. */
function noteRate(state: PeerState, bytes: number, ms: number): void {
  const rate = (bytes / ms) * 1_000;
  const weight = Math.max(0.3, 1 - Math.exp(-ms / smoothedMs));
  state.rateBytesPerSecond =
    state.rateBytesPerSecond === undefined ? rate : state.rateBytesPerSecond * (1 - weight) + rate * weight;
}

const smoothedMs = 2_000;
// A request that was stopped sooner may have waited for its turn.
const tellingMs = 1_000;

/** An origin that had not sent a byte when another took over does not answer this node: the others go on for a while. */
export function originOutcome(
  request: RequestState,
  outcome: RequestOutcome,
  nowMs: number,
  options: ScheduleOptions,
): RequestOutcome {
  const isSilent = request.receivedBytes === 0 && nowMs - request.progressMs >= options.originStallMs;
  if (outcome.kind !== 'cancelled' || !isSilent) return outcome;
  return { kind: 'originFailed', isFinal: false, retryAfterMs: silentPauseMs };
}

// Longer than what is left of most pulls once a node has waited in vain.
const silentPauseMs = 15_000;

export function applyOriginEnd(
  self: PeerId,
  download: DownloadState,
  request: RequestState,
  outcome: RequestOutcome,
  { nowMs, random }: Moment,
): void {
  for (const extent of extentsOf(download, request))
    if (!isFetchedAtOrigin(download, extent)) download.extents[extent]?.claims.delete(self);
  if (outcome.kind !== 'cancelled') download.ownTurnBytesPerSecond = undefined;
  if (outcome.kind === 'done') {
    download.originFailures = 0;
    // It answers again: what others were told to wait, while this one found out, is over.
    download.originNotBeforeMs = Math.min(download.originNotBeforeMs, nowMs);
    const rate = (outcome.bytes / Math.max(1, nowMs - request.startedMs)) * 1000;
    download.originBytesPerSecond =
      download.originBytesPerSecond === undefined ? rate : download.originBytesPerSecond * 0.7 + rate * 0.3;
    // One that was half of an extent says how long a whole one takes.
    const wholes = Math.min(longestOfPart, Math.max(1, bytesOfExtent(download) / Math.max(1, outcome.bytes)));
    download.slowestTurnMs = Math.max(download.slowestTurnMs ?? 0, (nowMs - request.startedMs) * wholes);
  }
  if (outcome.kind !== 'originFailed') return;
  download.originFailures += 1;
  download.restsUntilMs = nowMs + passedOverMs;
  if (outcome.isFinal) download.canAskOrigin = false;
  const backOffMs = Math.min(15_000, 250 * 2 ** download.originFailures) * (0.5 + random.next() / 2);
  download.originNotBeforeMs = nowMs + Math.max(outcome.retryAfterMs ?? 0, backOffMs);
}

// The least parts are all round trips.
const longestOfPart = 4;

/** The request for the whole begins before those for parts that it replaces have ended. */
function isFetchedAtOrigin(download: DownloadState, extent: number): boolean {
  const { start, end } = extentPieceRange(download.plan, extent);
  for (let piece = start; piece < end; piece += 1)
    for (const flight of flightsOf(download, piece)) if (flight.peer === undefined) return true;
  return false;
}

// Below any link worth taking from, even shared by many: a tenth of 5 MiB/s by eight uploads is 64 KiB/s.
const slowestBytesPerMs = 16;
// Requests that share a link that is slow itself get more and less of it.
const unevenFactor = 4;
// Half an hour for a piece of 512 KiB: whoever waits for less has no use for it.
const leastBytesPerMs = 0.25;

/**
 * Tells whether a request to a peer stands still, or drips so slowly that it might as well, unless this node gets little more from all together. Who was
 * mute before it and answers as if the pieces followed gets half the time.
 */
export function isHopeless(
  request: RequestState,
  { muteSinceMs }: PeerState,
  downloads: ReadonlyMap<string, DownloadState>,
  { receivedBytesPerSecond }: { readonly receivedBytesPerSecond: number },
  usualMs: (bytes: number) => number,
  nowMs: number,
  options: ScheduleOptions,
): boolean {
  const isMuteAgain = request.promisedMs !== undefined && muteSinceMs !== undefined && muteSinceMs <= request.startedMs;
  const silentMs = nowMs - request.progressMs;
  if (isMuteAgain && silentMs > options.peerStallMs) return true;
  // Every decision asks this of every request, and hardly one is silent for so long.
  if (
    silentMs > 2 * options.peerStallMs &&
    silentMs > silencePatienceMs(request, downloads.get(request.digest), usualMs, options)
  )
    return true;
  const ageMs = nowMs - request.startedMs;
  const evenBytesPerMs = receivedBytesPerSecond / 1_000 / options.maxRequests;
  const dripBytesPerMs = Math.max(leastBytesPerMs, Math.min(slowestBytesPerMs, evenBytesPerMs / unevenFactor));
  return ageMs > 5 * options.peerStallMs && request.receivedBytes < ageMs * dripBytesPerMs;
}
