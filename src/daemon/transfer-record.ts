import { findPeerId } from '../content/peer-id.ts';
import { findDigest } from '../oci/digest.ts';
import { type Transfer, type TransferPeer, waitKinds } from '../swarm/swarm.ts';

/**
 * A transfer that has ended as one line of JSON, and back. What is read is trusted as little as what comes from a peer: a line that
 * is not exactly this gives undefined.
 */
const version = 1;
// Who gave most tells the story; a fleet may have given to one blob.
const keptPeers = 16;
const maxTextLength = 500;
const states = ['complete', 'failed'] as const;
const phaseNames = ['providers', 'firstPiece', 'lastPiece', 'verified', 'committed'];

export function transferLine(transfer: Transfer): string {
  const { waitsFor: _, ...kept } = transfer;
  const peers = transfer.peers.toSorted((left, right) => right.bytes + right.waitedMs - left.bytes - left.waitedMs);
  return `${JSON.stringify({ version, ...kept, peers: peers.slice(0, keptPeers), missing: cut(transfer.missing), error: cut(transfer.error) })}\n`;
}

export function findTransfer(line: string): Transfer | undefined {
  const fields = findObject(line);
  if (fields?.['version'] !== version) return undefined;
  const digest = findDigest(text(fields['digest'], 200) ?? '');
  const repository = record(fields['repository']);
  const namespace = text(repository?.['namespace'], 300);
  const name = text(repository?.['name'], 300);
  const state = states.find((known) => known === fields['state']);
  const bytes = counts(fields['bytes'], ['origin', 'peer', 'local']);
  const peers = Array.isArray(fields['peers']) ? fields['peers'].map(findPeer) : undefined;
  const phasesMs = counts(fields['phasesMs'], phaseNames, true);
  const waitedMs = counts(fields['waitedMs'], waitKinds, true);
  const numbers = counts(fields, countNames);
  // Lines of earlier versions have none.
  const resumptions = counts({ resumptions: fields['resumptions'] ?? 0 }, ['resumptions']);
  const missing = optionalText(fields['missing']);
  const error = optionalText(fields['error']);
  if (digest === undefined || namespace === undefined || name === undefined || state === undefined) return undefined;
  if (bytes === undefined || peers === undefined || phasesMs === undefined || waitedMs === undefined) return undefined;
  if (numbers === undefined || resumptions === undefined) return undefined;
  if (missing === false || error === false || peers.length > keptPeers) return undefined;
  if (peers.some((peer) => peer === undefined)) return undefined;
  return {
    digest,
    repository: { namespace, name },
    state,
    ...numbers,
    ...resumptions,
    bytes,
    peers: peers.filter((peer) => peer !== undefined),
    originBytesPerSecond: 0,
    ...(missing === undefined ? {} : { missing }),
    ...(error === undefined ? {} : { error }),
    waitedMs,
    phasesMs,
  };
}

const countNames = [
  'sizeBytes',
  'startedAtMs',
  'endedAtMs',
  'piecesHeld',
  'pieceCount',
  'stalls',
  'hedges',
  'rejectedPieces',
  'mismatches',
] as const;

function findPeer(value: unknown): TransferPeer | undefined {
  const fields = record(value);
  const peer = findPeerId(text(fields?.['peer'], 100) ?? '');
  const numbers = counts(fields, ['bytes', 'stalls', 'waitedMs']);
  return peer === undefined || numbers === undefined ? undefined : { peer, ...numbers, bytesPerSecond: 0 };
}

/** Reads whole numbers by name; undefined when one is wrong, or is missing and may not be. */
function counts<Name extends string>(value: unknown, names: readonly Name[], isPartial = false) {
  const fields = record(value);
  if (fields === undefined) return undefined;
  const found: [Name, number][] = [];
  for (const name of names) {
    const count = fields[name];
    if (count === undefined && isPartial) continue;
    if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0) return undefined;
    found.push([name, count]);
  }
  return Object.fromEntries(found) as Record<Name, number>;
}

function findObject(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return record(JSON.parse(line));
  } catch {
    return undefined;
  }
}

function record(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}

function text(value: unknown, maxLength: number): string | undefined {
  return typeof value === 'string' && value.length <= maxLength ? value : undefined;
}

/** False = there is something, and it is no text. */
function optionalText(value: unknown): string | undefined | false {
  return value === undefined ? undefined : (text(value, maxTextLength) ?? false);
}

function cut(value: string | undefined): string | undefined {
  return value?.slice(0, maxTextLength);
}
