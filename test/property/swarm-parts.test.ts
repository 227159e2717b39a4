import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Bitfield } from '../../src/content/bitfield.ts';
import type { PeerId } from '../../src/content/peer-id.ts';
import { extentOf } from '../../src/content/piece-plan.ts';
import { seededRandom } from '../../src/lib/clock.ts';
import { isCode } from '../../src/lib/errors.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { decodeFrame, encodeFrame, type SwarmMessage } from '../../src/swarm/messages.ts';
import { applyMemberState } from '../../src/swarm/schedule/member-events.ts';
import { pickPieces } from '../../src/swarm/schedule/piece-picker.ts';
import {
  createDownloadState,
  createPeerState,
  type DownloadState,
  dropMember,
  markHeld,
  markMemberHas,
  type PeerState,
  type RequestState,
  setMute,
  unmarkHeld,
  unmarkMemberHas,
} from '../../src/swarm/schedule/state.ts';
import { rankOf, turnOrder } from '../../src/swarm/schedule/turn-order.ts';
import { UploadQueue, type UploadTicket } from '../../src/swarm/upload-queue.ts';
import { testPeer } from '../support/discovery.ts';

const MiB = 1024 * 1024;
const hexDigit = fc.constantFrom(...'0123456789abcdef');
const digests = fc.string({ unit: hexDigit, minLength: 64, maxLength: 64 }).map((hex) => `sha256:${hex}` as Digest);
const piece = fc.integer({ min: 0, max: 4_000_000 });
const bytes = fc.integer({ min: 0, max: 2 ** 44 });

const signed = fc.record({
  index: piece,
  signer: fc.constant(testPeer(1)),
  hash: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  signature: fc.uint8Array({ minLength: 64, maxLength: 64 }),
});
const messages: fc.Arbitrary<SwarmMessage> = fc.oneof(
  fc.record(
    {
      kind: fc.constant('hello' as const),
      bulkPort: fc.integer({ min: 0, max: 65_535 }),
      bulkHost: fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()),
      zone: fc.string({ unit: 'grapheme-ascii', maxLength: 64 }),
    },
    { requiredKeys: ['kind', 'bulkPort', 'zone'] },
  ),
  fc.record({
    kind: fc.constant('state' as const),
    digest: digests,
    sizeBytes: bytes,
    pieces: fc.option(fc.uint8Array({ maxLength: 300 }), { nil: undefined }),
    isFetching: fc.boolean(),
    canAskOrigin: fc.boolean(),
    wantsReply: fc.boolean(),
  }),
  fc.record({ kind: fc.constantFrom('leave' as const, 'whole' as const), digest: digests }),
  fc
    .tuple(digests, fc.array(piece, { maxLength: 50 }), fc.uint8Array({ minLength: 500, maxLength: 500 }))
    .map(([digest, pieces, marks]) => ({
      kind: 'have' as const,
      digest,
      pieces,
      marks: marks.slice(0, pieces.length * 10),
    })),
  fc.record({ kind: fc.constant('claim' as const), digest: digests, extent: piece, receivedBytes: bytes }),
  fc.record({
    kind: fc.constant('signed' as const),
    digest: digests,
    piece: signed,
  }),
  fc.constant({ kind: 'moved' as const }),
  fc.record({
    kind: fc.constant('piece' as const),
    digest: digests,
    piece: signed,
    bytes: fc.uint8Array({ maxLength: 16 * 1024 }),
  }),
  fc.record({
    kind: fc.constant('release' as const),
    digest: digests,
    extent: fc.option(piece, { nil: undefined }),
  }),
);

const plain = (list: readonly SwarmMessage[]) =>
  list.map((message) =>
    message.kind === 'state' && message.pieces !== undefined
      ? { ...message, pieces: [...message.pieces] }
      : { ...message },
  );

describe('messages between members', () => {
  it('come back as they were sent, any number in one frame', () => {
    fc.assert(
      fc.property(fc.array(messages, { maxLength: 20 }), (sent) => {
        expect(plain(decodeFrame(encodeFrame(sent)))).toEqual(plain(sent));
      }),
    );
  });

  it('are refused with WIRE_INVALID or read, whatever the bytes', () => {
    const frames = fc.oneof(
      fc.uint8Array({ maxLength: 500 }),
      // Real frames with a byte changed reach further into the parser.
      fc
        .tuple(fc.array(messages, { minLength: 1, maxLength: 4 }), fc.nat(), fc.integer({ min: 0, max: 255 }))
        .map(([sent, at, value]) => {
          const frame = Uint8Array.from(encodeFrame(sent));
          frame[at % frame.length] = value;
          return frame;
        }),
    );
    fc.assert(
      fc.property(frames, (frame) => {
        try {
          for (const message of decodeFrame(frame)) expect(message.kind).toBeTypeOf('string');
        } catch (error) {
          expect(isCode(error, 'WIRE_INVALID')).toBe(true);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('are refused when there are too many in one frame', () => {
    const leave = { kind: 'leave', digest: `sha256:${'0'.repeat(64)}` as Digest } as const;
    expect(() => decodeFrame(encodeFrame(Array.from({ length: 4_097 }, () => leave)))).toThrow('too many');
  });
});

describe('the upload queue', () => {
  it('never runs more than its slots and loses nobody, whatever enters, leaves and ends', () => {
    const steps = fc.array(
      fc.record({
        what: fc.constantFrom('enter' as const, 'enter' as const, 'leave' as const, 'release' as const),
        peer: fc.integer({ min: 0, max: 3 }),
        key: fc.integer({ min: 0, max: 3 }),
        isUrgent: fc.boolean(),
        at: fc.nat(),
      }),
      { maxLength: 200 },
    );
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: 6 }), (list, slots, maxWaiting) => {
        const queue = new UploadQueue({ slots, maxWaiting });
        const running: UploadTicket[] = [];
        const waiting: UploadTicket[] = [];
        for (const { what, peer, key, isUrgent, at } of list) {
          if (what === 'enter') {
            const ticket: UploadTicket = {
              peer: `p${peer}` as PeerId,
              pieceKey: `${key}`,
              isUrgent,
              grant: () => {
                const known = waiting.indexOf(ticket);
                if (known >= 0) waiting.splice(known, 1);
                running.push(ticket);
              },
            };
            if (queue.enter(ticket) && !running.includes(ticket)) waiting.push(ticket);
          } else if (what === 'leave' && waiting.length > 0) {
            const [ticket] = waiting.splice(at % waiting.length, 1);
            expect(queue.leave(ticket!)).toBe(true);
          } else if (what === 'release' && running.length > 0) {
            const [ticket] = running.splice(at % running.length, 1);
            queue.release(ticket!);
          }
          expect([queue.running, queue.waiting]).toEqual([running.length, waiting.length]);
          expect(running.length).toBeLessThanOrEqual(slots + 8);
          expect(waiting.length).toBeLessThanOrEqual(maxWaiting);
          // Nobody waits while there is room.
          if (running.length < slots) expect(waiting).toEqual([]);
        }
        while (running.length > 0) queue.release(running.shift()!);
        expect([queue.running, queue.waiting]).toEqual([0, 0]);
      }),
    );
  });
});

const blobs = fc.record({
  sizeBytes: fc.integer({ min: 1, max: 40 * MiB }),
  members: fc.array(fc.array(fc.nat({ max: 90 }), { maxLength: 60 }), { minLength: 1, maxLength: 6 }),
  held: fc.array(fc.nat({ max: 90 }), { maxLength: 30 }),
  flying: fc.array(fc.nat({ max: 90 }), { maxLength: 10 }),
  banned: fc.array(fc.nat({ max: 5 }), { maxLength: 3 }),
  reader: fc.option(fc.nat({ max: 90 }), { nil: undefined }),
  requests: fc.integer({ min: 0, max: 10 }),
  budgetBytes: fc.integer({ min: 1, max: 32 * MiB }),
  seed: fc.nat(),
});

const options = {
  maxRequests: 8,
  maxRequestsPerPeer: 2,
  maxSuppliers: 3,
  maxInFlightBytes: 32 * MiB,
  readerWindowPieces: 2,
  originWindowExtents: 8,
  originWindowStartExtents: 3,
  takeoverMs: 400,
  originStallMs: 2000,
  peerStallMs: 2000,
  hedgeFactor: 3,
};

function download(sizeBytes: number, self: number, members: readonly (readonly number[])[], digest: Digest) {
  const state = createDownloadState({
    digest,
    sizeBytes,
    order: 1,
    originNotBeforeMs: 0,
    canAskOrigin: true,
    held: [],
  });
  members.forEach((pieces, at) => {
    if (at === self) return;
    const have = new Bitfield(state.plan.pieceCount);
    for (const index of pieces) if (index < have.size) have.add(index);
    const said = { pieces: have, isFetching: true, canAskOrigin: true };
    applyMemberState(state, `p${at}` as PeerId, said, 0);
  });
  return state;
}

describe('what is known of a download', () => {
  const operations = fc.array(
    fc.record({
      kind: fc.constantFrom('has', 'lacks', 'held', 'dropped', 'mute', 'speaks', 'leaves'),
      member: fc.nat(2),
      piece: fc.nat(7),
    }),
    { maxLength: 200, size: 'max' },
  );

  it('counts holders, those believed and the pieces nobody holds as they are, whatever happens', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 * MiB }), operations, (sizeBytes, steps) => {
        const state = download(sizeBytes, -1, [[], [], []], `sha256:${'0'.repeat(64)}` as Digest);
        const { plan, held, members, extents } = state;
        for (const { kind, member: at, piece: index } of steps) {
          const member = members.get(`p${at}` as PeerId);
          if (index >= plan.pieceCount) continue;
          const said = { pieces: new Bitfield(plan.pieceCount), isFetching: true, canAskOrigin: true };
          if (kind === 'held') markHeld(state, index);
          else if (kind === 'dropped') unmarkHeld(state, index);
          else if (member === undefined) applyMemberState(state, `p${at}` as PeerId, said, 0, index > 3);
          else if (kind === 'has') markMemberHas(state, member, index);
          else if (kind === 'lacks') unmarkMemberHas(state, member, index);
          else if (kind === 'leaves') dropMember(state, member.peer);
          else setMute(state, member, kind === 'mute');
        }
        const holders = (index: number, isBelieved: boolean) =>
          [...members.values()].filter(({ have, isMute }) => have.has(index) && !(isBelieved && isMute)).length;
        const pieces = Array.from({ length: plan.pieceCount }, (_, index) => index);
        const unheld = pieces.filter((index) => !held.has(index) && holders(index, true) === 0);
        expect([...state.availability]).toEqual(pieces.map((index) => holders(index, false)));
        expect([...state.believed]).toEqual(pieces.map((index) => holders(index, true)));
        expect(pieces.filter((index) => state.supplied.has(index))).toEqual(
          pieces.filter((index) => !held.has(index) && holders(index, false) > 0),
        );
        expect(state.unheld).toBe(unheld.length);
        extents.forEach(({ unheld: count }, extent) => {
          expect(count).toBe(unheld.filter((index) => extentOf(plan, index) === extent).length);
          expect(extent < state.firstOpenExtent && count > 0).toBe(false);
        });
      }),
      { numRuns: 300 },
    );
  });
});

describe('the piece picker', () => {
  it('never picks what is held, in flight, picked already, not held by the peer, or of a banned peer', () => {
    fc.assert(
      fc.property(blobs, digests, (blob, digest) => {
        const state: DownloadState = download(blob.sizeBytes, -1, blob.members, digest);
        const { pieceCount } = state.plan;
        for (const index of blob.held) if (index < pieceCount) state.held.add(index);
        for (const index of blob.flying) {
          if (index < pieceCount) state.flights.set(index, new Set([{ id: 1 } as RequestState]));
        }
        if (blob.reader !== undefined) state.readers.set(1, blob.reader);
        const peers = new Map<PeerId, PeerState>();
        for (const member of state.members.values()) {
          const isBanned = blob.banned.some((at) => member.peer === `p${at}`);
          peers.set(member.peer, { ...createPeerState(member.peer, false), isBanned });
        }
        const budget = { requests: blob.requests, bytes: blob.budgetBytes };
        const picks = pickPieces('self' as PeerId, [state], peers, budget, 0, seededRandom(blob.seed), options);
        expect(picks.length).toBeLessThanOrEqual(blob.requests);
        const seen = new Set<number>();
        const perPeer = new Map<PeerId, number>();
        for (const { peer, first, count } of picks) {
          expect(peers.get(peer)?.isBanned).toBe(false);
          perPeer.set(peer, (perPeer.get(peer) ?? 0) + 1);
          for (let index = first; index < first + count; index += 1) {
            expect(state.held.has(index), `piece ${index} is held`).toBe(false);
            expect(state.flights.has(index), `piece ${index} is in flight`).toBe(false);
            expect(seen.has(index), `piece ${index} is picked twice`).toBe(false);
            expect(state.members.get(peer)?.have.has(index), `piece ${index} is at ${peer}`).toBe(true);
            seen.add(index);
          }
        }
        expect(perPeer.size).toBeLessThanOrEqual(options.maxSuppliers);
        for (const count of perPeer.values()) expect(count).toBeLessThanOrEqual(options.maxRequestsPerPeer);
      }),
      { numRuns: 500 },
    );
  });
});

describe('turns at the origin', () => {
  it('are in the same order on all nodes with the same view, and every extent has exactly one owner', () => {
    const fleets = fc.record({
      sizeBytes: fc.integer({ min: 1, max: 100 * MiB }),
      count: fc.integer({ min: 1, max: 12 }),
      isWhole: fc.boolean(),
      digest: digests,
    });
    fc.assert(
      fc.property(fleets, ({ sizeBytes, count, isWhole, digest }) => {
        const nobodyHasAnything = Array.from({ length: count }, () => []);
        const views = nobodyHasAnything.map((_, at) => {
          const state = download(sizeBytes, at, nobodyHasAnything, digest);
          state.isOriginWhole = isWhole;
          const self = `p${at}` as PeerId;
          return { self, state, order: turnOrder(self, state) };
        });
        for (const { order } of views) expect(order).toEqual(views[0]!.order);
        for (let extent = 0; extent < views[0]!.state.plan.extentCount; extent += 1) {
          const owners = views.filter(({ self, state, order }) => rankOf(self, order, state, extent, 0) === 0);
          expect(owners.length, `extent ${extent}`).toBe(1);
          const ranks = views
            .map(({ self, state, order }) => rankOf(self, order, state, extent, 0))
            .sort((a, b) => a - b);
          expect(ranks).toEqual(ranks.map((_, rank) => rank));
        }
      }),
    );
  });
});
