import type { PeerId } from '../content/peer-id.ts';
import { bytesText, percentText, rateText, spanText } from '../lib/units.ts';
import { type BytesBySource, type Transfer, type WaitKind, waitKinds } from '../swarm/swarm.ts';

/** Why a pull took as long as it did. */
export interface Explanation {
  /** What held it up most; `held` = nothing had to be fetched. */
  readonly bound: WaitKind | 'held';
  /** For a person; the first says what the bound was. */
  readonly sentences: readonly string[];
  readonly durationMs: number;
  readonly bytes: BytesBySource;
  /** What was waited for, longest first; together the duration. Of several blobs the waits, which lie side by side, are scaled to it. */
  readonly waits: readonly { readonly for: WaitKind; readonly ms: number; readonly share: number }[];
}

/** A pull as far as its transfers tell. */
interface PullFacts {
  readonly transfers: readonly Transfer[];
  readonly durationMs: number;
  readonly bytes: BytesBySource;
  readonly waits: Explanation['waits'];
  readonly nowMs: number;
}

// Blobs of one pull follow each other within a client's thinking time; longer apart they are two pulls.
const samePullGapMs = 5_000;

/** Finds the transfers of the latest pull among those of an image: others ended long before it began, their blobs were here. */
export function findLatestPull(transfers: readonly Transfer[], nowMs: number): Transfer[] {
  const pull: Transfer[] = [];
  let startedAtMs = Number.POSITIVE_INFINITY;
  for (const transfer of transfers.toSorted((left, right) => endOf(right, nowMs) - endOf(left, nowMs))) {
    if (pull.length > 0 && endOf(transfer, nowMs) < startedAtMs - samePullGapMs) break;
    pull.push(transfer);
    startedAtMs = Math.min(startedAtMs, transfer.startedAtMs);
  }
  return pull;
}

/** Says what bound the transfers of one pull, or one transfer alone, with the figures behind it. */
export function explainTransfers(transfers: readonly Transfer[], nowMs: number): Explanation {
  const bytes = sumBytes(transfers);
  const startedAtMs = Math.min(...transfers.map((transfer) => transfer.startedAtMs));
  const durationMs = transfers.length === 0 ? 0 : Math.max(...transfers.map((it) => endOf(it, nowMs))) - startedAtMs;
  const waits = sumWaits(transfers, durationMs);
  const facts: PullFacts = { transfers, durationMs, bytes, waits, nowMs };
  const isUnmoved = bytes.origin + bytes.peer === 0 && transfers.every(({ state }) => state === 'complete');
  const bound = isUnmoved ? 'held' : (waits[0]?.for ?? 'held');
  const failure = failureSentence(facts);
  const isMoved = bytes.origin + bytes.peer > 0;
  const sentences = [
    ...(failure === undefined ? [] : [failure]),
    // What bound a pull that came to nothing is its failure.
    ...(failure !== undefined && !isMoved ? [] : [boundSentence(bound, facts)]),
    ...detailSentences(bound, facts),
  ];
  return { bound, sentences, durationMs, bytes, waits };
}

function failureSentence({ transfers, durationMs }: PullFacts): string | undefined {
  const failed = transfers.filter(({ state }) => state === 'failed');
  const [first] = failed;
  if (first === undefined) return undefined;
  const which = transfers.length === 1 ? '' : `: ${failed.length} of ${count(transfers.length, 'blob')}`;
  return `It failed after ${spanText(durationMs)}${which}: ${first.error ?? 'no reason is known'}.`;
}

function boundSentence(bound: Explanation['bound'], facts: PullFacts): string {
  const { waits, durationMs, bytes, transfers } = facts;
  const [first] = waits;
  const share = percentText(first?.share ?? 0, 1);
  const span = spanText(first?.ms ?? 0);
  switch (bound) {
    case 'held':
      return 'Nothing had to be fetched: this node held it all.';
    case 'directory':
      return `The wait for the directory and for the first words of other nodes was the bound: ${span}, ${share} of the time.`;
    case 'origin':
      return (
        `The origin's rate was the bound: ${share} of the time went into bytes that no node held yet.` +
        // What a node held was passed on at once: all that came was new to the fleet shortly before.
        ` It gave this node ${rateText(perSecond(bytes.origin, durationMs))} and the fleet about ${rateText(perSecond(bytes.origin + bytes.peer, durationMs))}.`
      );
    case 'silentOrigin':
      return `An origin that sent nothing was the bound: ${span}, ${share} of the time${lastWord(transfers)}.`;
    case 'peers':
      return (
        `The links of the peers, or this node's own, were the bound: ${share} of the time went into bytes that peers held.` +
        ` ${count(peersOf(transfers).length, 'peer')} gave ${rateText(perSecond(bytes.peer, durationMs))} together.`
      );
    case 'silentPeer': {
      const worst = peersOf(transfers).toSorted((left, right) => right.waitedMs - left.waitedMs)[0];
      const who = worst === undefined ? 'A peer' : `Peer ${shortPeer(worst.peer)}`;
      return `${who} stood still and was the bound: nothing else moved for ${span}, ${share} of the time.`;
    }
    case 'queue':
      return `Other blobs of this node went first, or its peers were busy: ${span}, ${share} of the time.`;
    case 'ownRate':
      return `This node's own limit was the bound (swarm.downloadBytesPerSecond): ${span}, ${share} of the time.`;
    case 'nobody':
      return `Nobody who has it could be asked: ${span}, ${share} of the time${lastWord(transfers)}.`;
    case 'verification':
      return `The hash of the whole was the bound: ${span}, ${share} of the time, after the last piece was there.`;
    case 'commit':
      return `The disk was the bound: ${span}, ${share} of the time, to make the verified bytes durable.`;
  }
}

function detailSentences(bound: Explanation['bound'], { transfers, bytes, waits, nowMs }: PullFacts): string[] {
  const sentences: string[] = [];
  const all = bytes.origin + bytes.peer + bytes.local;
  if (bytes.origin + bytes.peer > 0) {
    const peers = peersOf(transfers).filter((peer) => peer.bytes > 0);
    const sources = [
      `${bytesText(bytes.origin)} came from the origin (${percentText(bytes.origin, all)})`,
      `${bytesText(bytes.peer)} from ${count(peers.length, 'peer')}`,
      ...(bytes.local > 0 ? [`${bytesText(bytes.local)} were here from before`] : []),
    ];
    sentences.push(`${sources.join(', ')}.`);
  }
  const others = waits.slice(1).filter(({ share }) => share >= notedShare);
  if (bound !== 'held' && others.length > 0) {
    sentences.push(`Beside it: ${others.map((wait) => `${waitTexts[wait.for]} ${spanText(wait.ms)}`).join(', ')}.`);
  }
  const stalls = sum(transfers.map((transfer) => transfer.stalls));
  const hedges = sum(transfers.map((transfer) => transfer.hedges));
  if (stalls > 0) {
    const worst = peersOf(transfers).toSorted((left, right) => right.stalls - left.stalls)[0];
    const who =
      worst === undefined || worst.stalls === 0 ? '' : `, most often ${shortPeer(worst.peer)} (${worst.stalls})`;
    sentences.push(`Requests stood still ${count(stalls, 'time')}${who}.`);
  }
  if (hedges > 0) sentences.push(`${count(hedges, 'late request')} asked of a second peer.`);
  const resumptions = Math.max(0, ...transfers.map((transfer) => transfer.resumptions));
  if (resumptions > 0)
    sentences.push(`It was taken up again ${count(resumptions, 'time')} after it had failed or this node had stopped.`);
  const rejected = sum(transfers.map((transfer) => transfer.rejectedPieces));
  if (rejected > 0) sentences.push(`${count(rejected, 'piece')} did not fit the signed hash and came again.`);
  const mismatches = sum(transfers.map((transfer) => transfer.mismatches));
  if (mismatches > 0)
    sentences.push(`The digest was wrong ${count(mismatches, 'time')}, and pieces were fetched again.`);
  const running = transfers.filter((transfer) => transfer.endedAtMs === undefined);
  const waitsFor = running[0]?.waitsFor;
  if (waitsFor !== undefined && running[0] !== undefined) {
    const since = spanText(nowMs - running[0].startedAtMs);
    sentences.push(`It still runs, for ${since}, and waits for ${waitTexts[waitsFor.for]} now.`);
  }
  return sentences;
}

// Below a tenth nobody would look for it.
const notedShare = 0.1;

/** What a wait is for, in the words of the sentences and of the live view. */
export const waitTexts: Readonly<Record<WaitKind, string>> = {
  directory: 'directory',
  origin: 'origin',
  silentOrigin: 'silent origin',
  peers: 'peers',
  silentPeer: 'silent peer',
  queue: 'other blobs',
  ownRate: 'own limit',
  nobody: 'anybody who has it',
  verification: 'hash',
  commit: 'disk',
};

function sumWaits(transfers: readonly Transfer[], durationMs: number): Explanation['waits'] {
  const waitedFor = (kind: WaitKind) => transfers.map(({ waitedMs }) => waitedMs[kind] ?? 0);
  // Blobs asked for together are announced together: one answer for all of them.
  const directoryMs = Math.min(durationMs, Math.max(0, ...waitedFor('directory')));
  const others = waitKinds
    .filter((kind) => kind !== 'directory')
    // One blob behind another of the same pull is no reason of its own: what the other waited for is.
    .filter((kind) => kind !== 'queue' || transfers.length === 1)
    .map((kind) => ({ for: kind, ms: sum(waitedFor(kind)) }));
  const scale = (durationMs - directoryMs) / Math.max(1, sum(others.map(({ ms }) => ms)));
  return [{ for: 'directory' as const, ms: directoryMs }, ...others.map((wait) => ({ ...wait, ms: wait.ms * scale }))]
    .filter(({ ms }) => ms > 0)
    .toSorted((left, right) => right.ms - left.ms)
    .map((wait) => ({ for: wait.for, ms: Math.round(wait.ms), share: wait.ms / durationMs }));
}

function sumBytes(transfers: readonly Transfer[]): BytesBySource {
  return {
    origin: sum(transfers.map(({ bytes }) => bytes.origin)),
    peer: sum(transfers.map(({ bytes }) => bytes.peer)),
    local: sum(transfers.map(({ bytes }) => bytes.local)),
  };
}

function peersOf(transfers: readonly Transfer[]): { peer: PeerId; bytes: number; stalls: number; waitedMs: number }[] {
  const peers = new Map<PeerId, { peer: PeerId; bytes: number; stalls: number; waitedMs: number }>();
  for (const { peer, bytes, stalls, waitedMs } of transfers.flatMap((transfer) => transfer.peers)) {
    const known = peers.get(peer) ?? { peer, bytes: 0, stalls: 0, waitedMs: 0 };
    peers.set(peer, {
      peer,
      bytes: known.bytes + bytes,
      stalls: known.stalls + stalls,
      waitedMs: known.waitedMs + waitedMs,
    });
  }
  return [...peers.values()];
}

function lastWord(transfers: readonly Transfer[]): string {
  const missing = transfers.find((transfer) => transfer.missing !== undefined)?.missing;
  return missing === undefined ? '' : ` (${missing})`;
}

function endOf(transfer: Transfer, nowMs: number): number {
  return transfer.endedAtMs ?? nowMs;
}

function perSecond(bytes: number, ms: number): number {
  return (bytes * 1000) / Math.max(1, ms);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}

/** The first characters of every Ed25519 peer ID are the same, the last tell peers apart. */
function shortPeer(peer: PeerId): string {
  return `…${peer.slice(-8)}`;
}
