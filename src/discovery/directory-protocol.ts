import { findPeerId, type PeerId } from '../content/peer-id.ts';
import { WireError, WireReader, WireWriter } from '../lib/wire.ts';
import { maxMessageBytes } from '../peer/peer-network.ts';
import { type DigestKey, digestKeyBytes, digestKeyOfBytes, sha256KeyLength, sha512KeyLength } from './digest-key.ts';
import type { Holding, Provider } from './directory.ts';
import type { SummaryValue } from './set-summary.ts';

/**
 * `/shoal/directory/1` (the peer network adds what is around the name): a node opens one channel to each of its trackers and asks on
 * it; the tracker answers and pushes on the same channel. Requests carry an id and are answered in order; an answer may come in parts.
 *
 *   announce  records what the sender holds or fetches, answered with the other providers of what it fetches
 *   find      the same answer without a record
 *   withdraw  takes records back, answered with an empty answer
 *   leave     forgets every record of the sender, answered with an empty answer
 *   sync      renews the lease and says what the sender thinks is recorded; answered with synced
 *   push      tracker to a peer that fetches: new providers, unasked
 */
export const directoryProtocol = 'directory';

export type DirectoryMessage = DirectoryRequest | DirectoryReply;

export type DirectoryRequest =
  | { readonly kind: 'announce'; readonly request: number; readonly entries: readonly KeyedAnnouncement[] }
  | { readonly kind: 'find'; readonly request: number; readonly keys: readonly DigestKey[] }
  | { readonly kind: 'withdraw'; readonly request: number; readonly keys: readonly DigestKey[] }
  | { readonly kind: 'leave'; readonly request: number }
  | { readonly kind: 'sync'; readonly request: number; readonly summary: SummaryValue };

export type DirectoryReply =
  | {
      readonly kind: 'answer';
      readonly request: number;
      readonly isLast: boolean;
      /** The tracker had no room for some of what was announced. */
      readonly isFull: boolean;
      readonly found: readonly FoundAt[];
    }
  | { readonly kind: 'synced'; readonly request: number; readonly isSame: boolean }
  | { readonly kind: 'push'; readonly found: readonly FoundFor[] };

export interface KeyedAnnouncement {
  readonly key: DigestKey;
  readonly holding: Holding;
}

/** Providers of the digest at this place of the request. */
export interface FoundAt {
  readonly index: number;
  readonly providers: readonly Provider[];
}

export interface FoundFor {
  readonly key: DigestKey;
  readonly providers: readonly Provider[];
}

/** 1000 SHA-512 digests are 65 KB: half a message. */
export const maxDigestsPerMessage = 1000;
/** What one digest's answer may list; a swarm member needs tens of neighbours, not all. */
export const maxProvidersPerDigest = 64;
const maxPeersPerMessage = 2400;
const maxRequest = 0xffff_ffff;
const maxRank = 0xffff_ffff;
/** Left free when a message is filled, for the largest single entry: 64 providers, all of them new to the message. */
const entryReserveBytes = 8 * 1024;

const kinds = ['announce', 'find', 'withdraw', 'leave', 'sync', 'answer', 'synced', 'push'] as const;
type Kind = (typeof kinds)[number];

export function encodeRequest(message: DirectoryRequest): Uint8Array {
  const writer = start(message.kind).number(message.request);
  switch (message.kind) {
    case 'announce':
      writer.number(message.entries.length);
      for (const entry of message.entries) writeKey(writer, entry.key, entry.holding === 'complete' ? 2 : 0);
      break;
    case 'find':
    case 'withdraw':
      writer.number(message.keys.length);
      for (const key of message.keys) writeKey(writer, key, 0);
      break;
    case 'leave':
      break;
    case 'sync':
      writer.number(message.summary.count).number(message.summary.high).number(message.summary.low);
      break;
  }
  return writer.finish();
}

export function encodeSynced(request: number, isSame: boolean): Uint8Array {
  return start('synced')
    .number(request)
    .number(isSame ? 1 : 0)
    .finish();
}

/** Encodes the answer to one request in as many messages as it needs, at least one. */
export function encodeAnswer(request: number, found: readonly FoundAt[], isFull: boolean): Uint8Array[] {
  const parts = split(found);
  if (parts.length === 0) parts.push([]);
  return parts.map((part, at) => {
    const writer = start('answer').number(request);
    writer.number((at === parts.length - 1 ? 1 : 0) | (isFull ? 2 : 0));
    writeFound(writer, part, (entry) => writer.number(entry.index));
    return writer.finish();
  });
}

export function encodePush(found: readonly FoundFor[]): Uint8Array[] {
  return split(found).map((part) => {
    const writer = start('push');
    writeFound(writer, part, (entry) => writeKey(writer, entry.key, 0));
    return writer.finish();
  });
}

/** Reads a message. @throws WIRE_INVALID */
export function decodeDirectoryMessage(bytes: Uint8Array): DirectoryMessage {
  const reader = new WireReader(bytes);
  const message = readMessage(reader);
  reader.end();
  return message;
}

function readMessage(reader: WireReader): DirectoryMessage {
  const kind = kinds[reader.number(kinds.length - 1)];
  if (kind === undefined) throw new WireError('WIRE_INVALID', 'unknown message kind');
  if (kind === 'push') return { kind, found: readFound(reader, () => ({ key: readKey(reader).key })) };
  const request = reader.number(maxRequest);
  switch (kind) {
    case 'announce':
      return {
        kind,
        request,
        entries: readList(reader, maxDigestsPerMessage, () => {
          const { key, isFlagged } = readKey(reader);
          return { key, holding: holdingOf(isFlagged) };
        }),
      };
    case 'find':
    case 'withdraw':
      return { kind, request, keys: readList(reader, maxDigestsPerMessage, () => readKey(reader).key) };
    case 'leave':
      return { kind, request };
    case 'sync': {
      const count = reader.number(0xffff_ffff);
      const high = reader.number(0xffff_ffff);
      return { kind, request, summary: { count, high, low: reader.number(0xffff_ffff) } };
    }
    case 'answer': {
      const flags = reader.number(3);
      const found = readFound(reader, () => ({ index: reader.number(maxDigestsPerMessage - 1) }));
      return { kind, request, isLast: (flags & 1) !== 0, isFull: (flags & 2) !== 0, found };
    }
    case 'synced':
      return { kind, request, isSame: reader.number(1) === 1 };
  }
}

function start(kind: Kind): WireWriter {
  return new WireWriter().number(kinds.indexOf(kind));
}

/** One byte: bit 0 = SHA-512, bit 1 = the caller's flag; then the raw digest. */
function writeKey(writer: WireWriter, key: DigestKey, flag: 0 | 2): void {
  writer.number((key.length === sha512KeyLength ? 1 : 0) | flag).fixed(digestKeyBytes(key));
}

function readKey(reader: WireReader): { key: DigestKey; isFlagged: boolean } {
  const head = reader.number(3);
  const bytes = reader.fixed((head & 1) === 0 ? sha256KeyLength : sha512KeyLength);
  return { key: digestKeyOfBytes(bytes), isFlagged: (head & 2) !== 0 };
}

/** Peers are named once per message and referred to by place: a thousand digests of one image share their providers. */
function writeFound<Entry extends { readonly providers: readonly Provider[] }>(
  writer: WireWriter,
  found: readonly Entry[],
  writeHead: (entry: Entry) => void,
): void {
  const places = new Map<PeerId, number>();
  for (const { providers } of found) {
    for (const { peer } of providers) if (!places.has(peer)) places.set(peer, places.size);
  }
  writer.number(places.size);
  for (const peer of places.keys()) writer.text(peer);
  writer.number(found.length);
  for (const entry of found) {
    writeHead(entry);
    writer.number(entry.providers.length);
    for (const { peer, holding, rank } of entry.providers) {
      writer.number((places.get(peer) ?? 0) * 2 + (holding === 'complete' ? 1 : 0)).number(rank);
    }
  }
}

function readFound<Head>(
  reader: WireReader,
  readHead: () => Head,
): (Head & { readonly providers: readonly Provider[] })[] {
  const peers = readList(reader, maxPeersPerMessage, () => {
    const peer = findPeerId(reader.text(64));
    if (peer === undefined) throw new WireError('WIRE_INVALID', 'not a peer ID');
    return peer;
  });
  return readList(reader, maxDigestsPerMessage, () => {
    const head = readHead();
    const providers = readList(reader, maxProvidersPerDigest, () => {
      const place = reader.number(maxPeersPerMessage * 2);
      const peer = peers[place >> 1];
      if (peer === undefined) throw new WireError('WIRE_INVALID', 'answer names a peer that it does not list');
      return { peer, holding: holdingOf((place & 1) === 1), rank: reader.number(maxRank) };
    });
    return { ...head, providers };
  });
}

function readList<Item>(reader: WireReader, max: number, readItem: () => Item): Item[] {
  const count = reader.number(max);
  const items: Item[] = [];
  for (let at = 0; at < count; at += 1) items.push(readItem());
  return items;
}

function holdingOf(isComplete: boolean): Holding {
  return isComplete ? 'complete' : 'fetching';
}

/** Cuts a list into parts that each fit a message. */
function split<Entry extends { readonly providers: readonly Provider[] }>(found: readonly Entry[]): Entry[][] {
  const parts: Entry[][] = [];
  let part: Entry[] = [];
  let peers = new Set<PeerId>();
  let sizeBytes = 0;
  for (const entry of found) {
    const isFull = sizeBytes > maxMessageBytes - entryReserveBytes || part.length === maxDigestsPerMessage;
    if (part.length === 0 || isFull) {
      part = [];
      parts.push(part);
      peers = new Set();
      sizeBytes = 0;
    }
    part.push(entry);
    // 66: head and key of a push; 8: place and rank at their longest; 58: a peer ID with its length.
    sizeBytes += 66 + entry.providers.length * 8;
    for (const { peer } of entry.providers) {
      if (peers.has(peer)) continue;
      peers.add(peer);
      sizeBytes += 58;
    }
  }
  return parts;
}
