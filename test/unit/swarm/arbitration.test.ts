import { beforeAll, describe, expect, it } from 'vitest';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { pieceHash } from '../../../src/content/piece-hash.ts';
import { type SignedPiece, signPiece } from '../../../src/content/signed-piece.ts';
import { seededRandom, systemClock } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { TaskGroup } from '../../../src/lib/task-group.ts';
import { type Digest, digestOf } from '../../../src/oci/digest.ts';
import type { Repository } from '../../../src/oci/repository.ts';
import { OriginError } from '../../../src/origin/errors.ts';
import { createMemoryOrigin, type MemoryOriginOptions } from '../../../src/origin/memory/memory-origin.ts';
import { generateIdentity, type PeerIdentity } from '../../../src/peer/identity.ts';
import { createMemoryStore } from '../../../src/store/memory/memory-store.ts';
import { arbitrate, provenWrong } from '../../../src/swarm/arbitration.ts';
import { AuditPlan } from '../../../src/swarm/audit-plan.ts';
import { Disputes } from '../../../src/swarm/disputes.ts';
import { Healing } from '../../../src/swarm/healing.ts';
import type { MemberTalk } from '../../../src/swarm/member-talk.ts';
import type { SwarmMessage } from '../../../src/swarm/messages.ts';
import { markOf } from '../../../src/swarm/piece-mark.ts';
import type { Scheduler } from '../../../src/swarm/schedule/scheduler.ts';
import { Strikes } from '../../../src/swarm/strikes.ts';
import type { BlobRequest } from '../../../src/swarm/swarm.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { makeBlob } from '../../support/memory-piece-source.ts';
import { demoRepository, MiB, until } from '../../support/swarm-blobs.ts';
import { openTestDownload } from '../../support/swarm-parts.ts';

let self: PeerIdentity;
let honest: PeerIdentity;
let liar: PeerIdentity;
beforeAll(async () => {
  [self, honest, liar] = await Promise.all([generateIdentity(), generateIdentity(), generateIdentity()]);
});
const { signal } = new AbortController();

describe('the arbitration of a wrong digest', () => {
  async function setUp(signers: { signer: PeerIdentity; isWrong?: boolean }[], options: MemoryOriginOptions = {}) {
    const kit = await openTestDownload(self, 2 * MiB);
    const origin = createMemoryOrigin(options);
    origin.putBlob(demoRepository, kit.bytes);
    for (let index = 0; index < kit.download.plan.pieceCount; index += 1) {
      const { signer, isWrong } = signers[index % signers.length]!;
      await kit.storePiece(index, signer, isWrong === true);
    }
    const stored: number[] = [];
    const said: SwarmMessage[] = [];
    const distrusted: string[] = [];
    const warnings: string[] = [];
    const scheduler = {
      distrust: (_: Digest, pieces: number[]) => distrusted.push(...pieces.map(String)),
      memberHas() {},
    };
    const shown: string[] = [];
    const talk = {
      tellAll: (_: Digest, message: SwarmMessage) => said.push(message),
      tellOne: (peer: PeerId, message: SwarmMessage) => {
        if (message.kind === 'signed') shown.push(`${peer} ${message.piece.index}`);
      },
      restate: () => {},
    };
    const tasks = new TaskGroup(() => {});
    const deps = {
      origin,
      identity: self,
      clock: systemClock,
      random: seededRandom(1),
      logger: { ...silentLogger, warn: (_: object, message: string) => void warnings.push(message) },
    };
    const disputes = new Disputes({
      ...deps,
      scheduler: scheduler as unknown as Scheduler,
      talk: talk as unknown as MemberTalk,
      findDownload: () => kit.download,
      tasks,
      onStored: (_, index) => stored.push(index),
      ban: (peer, reason, evidence) => warnings.push(`${peer}: ${reason}: ${evidence}`),
      decideSoon: () => {},
    });
    const judge = async () => {
      const check = (piece: SignedPiece) => disputes.check(kit.download, piece, signal);
      return arbitrate(deps, kit.download, await kit.download.verify(signal), [honest.peerId], check, signal);
    };
    const quiet = () => until(() => tasks.size === 0, 'nothing runs');
    return { ...kit, origin, judge, disputes, stored, said, shown, distrusted, warnings, quiet };
  }
  const all = [0, 1, 2, 3, 4, 5, 6];
  const away: MemoryOriginOptions = {
    beforeCall: () => {
      throw new OriginError('ORIGIN_UNAVAILABLE', 'away');
    },
  };

  it('catches the one whose sample differs from the origin’s, and leaves the pieces of the others', async () => {
    const { judge, download, stored, said } = await setUp([
      { signer: self },
      { signer: liar, isWrong: true },
      { signer: honest },
    ]);
    expect(await judge()).toEqual({ kind: 'found' });
    // What was compared is in its place already; the other piece is to be fetched.
    expect(stored).toHaveLength(1);
    expect([...download.heldPieces.keys()].sort()).toEqual(
      all.filter((index) => ![1, 4].includes(index) || stored.includes(index)),
    );
    expect([...download.distrusted]).toEqual([liar.peerId]);
    expect(said).toMatchObject([{ kind: 'signed', piece: { index: stored[0], signer: self.peerId } }]);
  });

  it('puts an own wrong reading right, tells the others, and throws nothing else away', async () => {
    const { judge, download, storePiece, stored, said, digest, origin, clock } = await setUp([
      { signer: self },
      { signer: honest },
    ]);
    await download.dropPieces([2]);
    await storePiece(2, self, true);
    expect(await judge()).toEqual({ kind: 'found' });
    expect([stored, download.heldPieces.size, download.distrusted.size]).toEqual([[2], 7, 0]);
    expect(said).toMatchObject([{ kind: 'signed', piece: { index: 2, signer: self.peerId } }]);
    expect(await download.verify(signal)).toBe(digest);
    expect(origin.sentBytes).toBeLessThanOrEqual(2 * MiB);
    expect(provenWrong(download, clock.nowMs(), () => true)).toEqual([]);
  });

  it.each<[string, MemoryOriginOptions]>([
    ['cannot be asked', away],
    ['has no ranges', { servesRanges: false }],
  ])('believes nobody but this node when the origin %s', async (_, options) => {
    const { judge, origin } = await setUp(
      [{ signer: self }, { signer: liar, isWrong: true }, { signer: honest }],
      options,
    );
    expect(await judge()).toEqual({ kind: 'relyOnSelf', drop: [1, 2, 4, 5] });
    expect(origin.sentBytes).toBe(0);
  });

  it('believes nobody but this node when no repository is known', async () => {
    const { judge, download } = await setUp([{ signer: liar, isWrong: true }]);
    download.repositories.length = 0;
    expect(await judge()).toEqual({ kind: 'relyOnSelf', drop: all });
  });

  it('catches who lied in one large piece alone, and keeps all that others signed', async () => {
    const { judge, download, storePiece, origin, digest, clock } = await setUp([{ signer: honest }]);
    await download.dropPieces([0, 5, 6]);
    await storePiece(0, liar);
    await storePiece(5, liar);
    await storePiece(6, liar, true);
    expect(await judge()).toEqual({ kind: 'found' });
    expect([...download.heldPieces.keys()].sort()).toEqual([1, 2, 3, 4, 6]);
    // No more than would have been read anew.
    expect(origin.sentBytes).toBeLessThanOrEqual(2 * MiB);
    await storePiece(0);
    await storePiece(5);
    expect(await download.verify(signal)).toBe(digest);
    const wrong = provenWrong(download, clock.nowMs(), () => true);
    expect(wrong).toMatchObject([{ signer: liar.peerId, isTakenBack: false, isStoodBy: false }]);
    expect(wrong[0]!.evidence).toMatch(/^sha256:\w{64} piece 6: signed \w{64} \(signature \w{128}\), is \w{64}$/);
  });

  it('gives up when every piece is as the origin has it', async () => {
    const { judge, download } = await setUp([{ signer: self }, { signer: honest }], {
      alterBody: async function* (_, chunks) {
        for await (const chunk of chunks) yield chunk.map((byte) => byte ^ 1);
      },
    });
    await download.dropPieces(all);
    const wrongly = await openTestDownload(self, 2 * MiB);
    for (const index of all) {
      const { bytes } = wrongly.pieceOf(index);
      const other = bytes.map((byte) => byte ^ 1);
      const key = { digest: download.digest, sizeBytes: download.sizeBytes };
      const piece = signPiece(index % 2 === 0 ? self : honest, key, index, pieceHash(other));
      await download.storePiece(piece, other, { from: 'origin' });
    }
    await expect(judge()).rejects.toMatchObject({ code: 'SWARM_DIGEST_MISMATCH' });
  });

  it('reads its own readings anew when they cannot be compared, and gives up after a few times', async () => {
    const { judge } = await setUp([{ signer: self, isWrong: true }], away);
    expect(await judge()).toEqual({ kind: 'relyOnSelf', drop: all });
    await judge();
    await expect(judge()).rejects.toMatchObject({ code: 'SWARM_DIGEST_MISMATCH' });
  });

  it('gives up at once on a blob of no bytes', async () => {
    const { download } = await openTestDownload(self, 0);
    const deps = {
      origin: createMemoryOrigin(),
      identity: self,
      clock: systemClock,
      random: seededRandom(1),
      logger: silentLogger,
    };
    const judged = arbitrate(deps, download, digestOf(Buffer.from('x')), [], async () => 'right', signal);
    await expect(judged).rejects.toMatchObject({ code: 'SWARM_DIGEST_MISMATCH' });
  });

  it('looks at the origin when a member shows another version, and believes who is right', async () => {
    const victim = await setUp([{ signer: liar, isWrong: true }, { signer: honest }]);
    victim.disputes.heard(honest.peerId, victim.digest, victim.pieceOf(2, honest).piece);
    await victim.quiet();
    expect([[...victim.download.distrusted], victim.stored]).toEqual([[liar.peerId], [2]]);
    expect(victim.said).toMatchObject([{ kind: 'signed', piece: { index: 2, signer: self.peerId } }]);

    const right = await setUp([{ signer: honest }]);
    right.disputes.heard(liar.peerId, right.digest, right.pieceOf(2, liar, true).piece);
    await right.quiet();
    expect([[...right.download.distrusted], right.stored]).toEqual([[liar.peerId], []]);
    expect(right.download.heldPieces.size).toBe(7);
  });

  it('asks the origin as soon as a member says that it holds another version, and shows its own', async () => {
    const victim = await setUp([{ signer: liar, isWrong: true }]);
    const { disputes, digest, download, pieceOf } = victim;
    disputes.marked(honest.peerId, digest, 2, markOf(pieceOf(2, honest).piece));
    expect([...download.contested]).toEqual([liar.peerId]);
    await victim.quiet();
    expect([victim.shown, victim.stored]).toEqual([[`${honest.peerId} 2`], [2]]);
    expect([[...download.distrusted], download.contested.size]).toEqual([[liar.peerId], 0]);
    // The others of that signer are no news.
    disputes.marked(honest.peerId, digest, 2, markOf(pieceOf(2, liar, true).piece));
    await victim.quiet();
    expect(victim.shown).toHaveLength(1);
  });

  it('remembers what members hold of a piece until it comes', async () => {
    const { disputes, digest, download, pieceOf, storePiece, shown, quiet, origin } = await setUp([{ signer: liar }]);
    await download.dropPieces([2, 3]);
    disputes.marked(honest.peerId, digest, 2, markOf(pieceOf(2, honest).piece));
    disputes.marked(honest.peerId, digest, 3, markOf(pieceOf(3, honest).piece));
    await storePiece(2, liar, true);
    await storePiece(3, liar);
    for (const index of [2, 3]) disputes.stored(download, index);
    await quiet();
    expect([shown, [...download.distrusted]]).toEqual([[`${honest.peerId} 2`], [liar.peerId]]);
    expect(origin.sentBytes).toBe(128 * 1024);
  });

  it('asks the origin once for each pair of signers, and not for what it read itself or found right before', async () => {
    const kit = await setUp([{ signer: honest }, { signer: self }]);
    const { disputes, digest, pieceOf, origin, quiet, shown } = kit;
    for (const index of [0, 2, 4, 1, 3]) {
      disputes.marked(honest.peerId, digest, index, markOf(pieceOf(index, liar, true).piece));
      await quiet();
    }
    expect(shown).toEqual([0].map((index) => `${honest.peerId} ${index}`));
    expect(origin.sentBytes).toBe(64 * 1024);
  });

  it('does not believe a signer that announces another version than it signed, and asks no origin about it', async () => {
    const kit = await setUp([{ signer: honest }, { signer: liar, isWrong: true }]);
    const { disputes, digest, download, pieceOf, quiet, origin, distrusted, warnings } = kit;
    // Passed on by somebody else, that is no word of its own.
    disputes.marked(honest.peerId, digest, 0, markOf(pieceOf(0, honest).piece));
    expect(download.distrusted.size).toBe(0);
    disputes.marked(liar.peerId, digest, 1, markOf(pieceOf(1, liar).piece));
    expect([[...download.distrusted], download.canGive(1)]).toEqual([[liar.peerId], false]);
    disputes.marked(liar.peerId, digest, 3, markOf(pieceOf(3, liar).piece));
    await quiet();
    expect([distrusted, [...download.heldPieces.keys()]]).toEqual([
      ['1', '3', '5'],
      [0, 2, 4, 6],
    ]);
    expect([warnings.length, origin.sentBytes]).toEqual([1, 0]);
  });

  it('holds against a signer the version it announced before the piece came, and the latest only', async () => {
    const kit = await setUp([{ signer: honest }]);
    const { disputes, digest, download, pieceOf, quiet, storePiece, origin } = kit;
    await download.dropPieces([2, 3]);
    for (const isWrong of [true, false])
      disputes.marked(liar.peerId, digest, 2, markOf(pieceOf(2, liar, isWrong).piece));
    await storePiece(2, liar);
    disputes.stored(download, 2);
    expect(download.distrusted.size).toBe(0);
    disputes.marked(liar.peerId, digest, 3, markOf(pieceOf(3, liar).piece));
    await storePiece(3, liar, true);
    disputes.stored(download, 3);
    await quiet();
    expect([[...download.distrusted], download.heldPieces.size, origin.sentBytes]).toEqual([[liar.peerId], 5, 0]);
  });

  it('shows what it has read otherwise than before, and nothing that came out the same', async () => {
    const { disputes, download, pieceOf, storePiece, said } = await setUp([{ signer: self }]);
    download.suspects.add(pieceOf(2, self, true).piece);
    download.suspects.add(pieceOf(3, self).piece);
    await download.dropPieces([2, 3, 4]);
    for (const index of [2, 3, 4]) {
      await storePiece(index, self);
      disputes.stored(download, index);
    }
    expect(said).toMatchObject([{ kind: 'signed', piece: { index: 2, signer: self.peerId } }]);
  });

  it('asks the origin about a signer that has corrected itself, also when another was found right against it', async () => {
    const kit = await setUp([{ signer: honest }, { signer: liar, isWrong: true }]);
    const { disputes, digest, download, pieceOf, quiet, storePiece, origin } = kit;
    disputes.heard(liar.peerId, digest, pieceOf(1, liar).piece);
    await quiet();
    expect([[...download.distrusted], download.heldPieces.size]).toEqual([[], 6]);
    await storePiece(1, liar);
    disputes.marked(honest.peerId, digest, 0, markOf(pieceOf(0, liar, true).piece));
    await quiet();
    expect([download.distrusted.size, origin.sentBytes]).toEqual([0, 64 * 1024]);
    disputes.marked(liar.peerId, digest, 3, markOf(pieceOf(3, liar).piece));
    expect([...download.contested]).toEqual([liar.peerId]);
    await quiet();
    expect([[...download.distrusted], origin.sentBytes]).toEqual([[liar.peerId], (64 + 256) * 1024]);
  });

  it('throws away the one piece that its own signer takes back, and does not take it again', async () => {
    const { disputes, download, digest, pieceOf, origin, quiet, distrusted } = await setUp([
      { signer: honest },
      { signer: liar },
    ]);
    const wrong = download.heldPieces.get(2)!;
    const corrected = { ...pieceOf(2, honest, true).piece };
    disputes.heard(honest.peerId, digest, corrected);
    await quiet();
    expect([download.hasPiece(2), download.heldPieces.size, download.distrusted.size]).toEqual([false, 6, 0]);
    expect([download.suspects.has(wrong), download.suspects.has(corrected), distrusted]).toEqual([true, false, ['2']]);
    expect(origin.sentBytes).toBe(0);
  });

  it.each<[string, number, boolean, (kit: Awaited<ReturnType<typeof setUp>>) => void]>([
    ['says nothing for five seconds stands by it', 5000, true, () => {}],
    [
      'corrects itself does not',
      5000,
      false,
      ({ disputes, digest, pieceOf }) => {
        disputes.heard(liar.peerId, digest, pieceOf(2, liar).piece);
      },
    ],
    [
      'shows other false bytes stands by them',
      5000,
      true,
      ({ disputes, digest, pieceOf }) => {
        const { piece } = pieceOf(2, liar, true);
        disputes.heard(liar.peerId, digest, { ...piece, hash: piece.hash.map((byte) => byte ^ 1) });
      },
    ],
    [
      'shows it once more has not taken it back',
      5000,
      true,
      ({ disputes, digest, pieceOf }) => {
        disputes.heard(liar.peerId, digest, pieceOf(2, liar, true).piece);
      },
    ],
    [
      'is taken back by somebody else has not either',
      5000,
      true,
      ({ disputes, digest, pieceOf }) => {
        disputes.heard(honest.peerId, digest, pieceOf(2, liar).piece);
      },
    ],
    ['had less time does not', 4999, false, () => {}],
  ])('a signer of a wrong piece that was shown the right one and %s', async (_, afterMs, isStoodBy, answer) => {
    const kit = await setUp([{ signer: honest }]);
    const { disputes, download, digest, pieceOf, quiet, storePiece, clock } = kit;
    await download.dropPieces([2]);
    await storePiece(2, liar, true);
    disputes.heard(honest.peerId, digest, pieceOf(2, honest).piece);
    await quiet();
    answer(kit);
    await quiet();
    clock.advance(afterMs);
    const judged = (isHere: boolean) => provenWrong(download, clock.nowMs(), () => isHere);
    expect(judged(true)).toMatchObject([{ signer: liar.peerId, isTakenBack: false, isStoodBy }]);
    expect(judged(false)).toMatchObject([{ signer: liar.peerId, isStoodBy: false }]);
    expect(judged(true)[0]?.evidence.endsWith(' s since its signer was told')).toBe(isStoodBy);
  });

  it('reads a piece once however many speak of it, and nothing at a false signature', async () => {
    const { disputes, digest, pieceOf, origin, quiet, warnings, storePiece, download } = await setUp([
      { signer: self },
    ]);
    for (let time = 0; time < 20; time += 1) {
      const { piece } = pieceOf(time % 7, liar, true);
      disputes.heard(liar.peerId, digest, { ...piece, signature: piece.signature.map((byte) => byte ^ 1) });
    }
    await quiet();
    expect([origin.sentBytes, warnings.length]).toEqual([0, 20]);
    for (let time = 0; time < 20; time += 1) {
      disputes.heard(honest.peerId, digest, pieceOf(0, await generateIdentity(), true).piece);
      await quiet();
      if (!download.hasPiece(0)) await storePiece(0, self);
    }
    expect([origin.sentBytes, download.distrusted.size]).toEqual([64 * 1024, 20]);
  });
});

describe('the plan of an audit', () => {
  it('begins with own pieces in their order and with the next signer in the ring, and leaves out nothing', async () => {
    const { pieceOf } = await openTestDownload(self, 8 * MiB);
    const ring = [honest.peerId, self.peerId, liar.peerId];
    const pieces = Array.from({ length: 19 }, (_, index) => pieceOf(index, [self, honest, liar][index % 3]).piece);
    const plan = new AuditPlan(self.peerId, pieces, ring, seededRandom(1));
    const rounds: SignedPiece[][] = [];
    for (let round = plan.next(); round.length > 0; round = plan.next()) rounds.push(round);
    expect(rounds[0]!.map(({ signer }) => signer)).toEqual([self.peerId, liar.peerId]);
    expect(rounds[1]!.map(({ signer }) => signer)).toEqual([self.peerId, self.peerId, honest.peerId, liar.peerId]);
    const own = rounds.flat().filter(({ signer }) => signer === self.peerId);
    expect(own.map(({ index }) => index)).toEqual([0, 3, 6, 9, 12, 15, 18]);
    expect(
      rounds
        .flat()
        .map(({ index }) => index)
        .sort((a, b) => a - b),
    ).toEqual(pieces.map(({ index }) => index));
    expect(Math.max(...rounds.map((round) => round.length))).toBeLessThanOrEqual(8);
  });
});

describe('the strikes of a signer', () => {
  const [one, other] = [digestOf(Buffer.from('1')), digestOf(Buffer.from('2'))];
  const wrong = (isTakenBack = false) => ({
    signer: liar.peerId,
    evidence: 'piece 1',
    isTakenBack,
    isStoodBy: false,
  });

  it('make it a suspect at one wrong piece, and ban it at two of one blob', () => {
    const strikes = new Strikes(new FakeClock());
    expect(strikes.judge(one, [wrong()])).toEqual([{ signer: liar.peerId, evidence: 'piece 1', isBanned: false }]);
    expect(new Strikes(new FakeClock()).judge(one, [wrong(), wrong()])[0]?.isBanned).toBe(true);
  });

  it('ban it at the first if it stood by it, with that as evidence', () => {
    const stood = { ...wrong(), evidence: 'piece 2', isStoodBy: true };
    expect(new Strikes(new FakeClock()).judge(one, [wrong(true), stood])).toEqual([
      { signer: liar.peerId, evidence: 'piece 2', isBanned: true },
    ]);
  });

  it('ban it at the second blob, with both as evidence, and begin anew then', () => {
    const strikes = new Strikes(new FakeClock());
    strikes.judge(one, [wrong()]);
    expect(strikes.judge(one, [wrong()])[0]?.isBanned).toBe(false);
    expect(strikes.judge(other, [wrong()])).toEqual([
      { signer: liar.peerId, evidence: 'piece 1; piece 1', isBanned: true },
    ]);
    expect(strikes.judge(one, [wrong()])[0]?.isBanned).toBe(false);
  });

  it('count once per blob what it took back itself, however many pieces', () => {
    const strikes = new Strikes(new FakeClock());
    expect(strikes.judge(one, [wrong(true), wrong(true), wrong(true)])[0]?.isBanned).toBe(false);
    expect(strikes.judge(other, [wrong(true)])[0]?.isBanned).toBe(true);
  });

  it('are forgotten after a day, and the oldest when there are too many', () => {
    const clock = new FakeClock();
    const strikes = new Strikes(clock);
    strikes.judge(one, [wrong()]);
    clock.advance(86_400_000);
    expect(strikes.judge(other, [wrong()])[0]?.isBanned).toBe(false);
    for (let at = 0; at < 1_024; at += 1) strikes.judge(one, [{ ...wrong(), signer: `p${at}` as PeerId }]);
    expect(strikes.judge(one, [wrong()])[0]?.isBanned).toBe(false);
  });
});

describe('the healing of a rotten blob', () => {
  async function setUp(findRepository?: (digest: Digest) => Promise<Repository | undefined>) {
    const store = createMemoryStore({ clock: new FakeClock() });
    const tasks = new TaskGroup(() => {});
    const fetched: BlobRequest[] = [];
    const withdrawn: Digest[] = [];
    const { key, bytes } = makeBlob(self, 1000, 1);
    await store.blobs.writeBlob(key.digest, bytes);
    const directory = {
      announce: async () => new Map(),
      find: async () => new Map(),
      withdraw: async (digests: readonly Digest[]) => void withdrawn.push(...digests),
      onProvider: () => () => {},
      publishRoot: () => {},
    };
    const untold: Digest[] = [];
    const healing = new Healing({
      blobs: store.blobs,
      directory,
      completed: { remove: (digest) => void untold.push(digest) },
      tasks,
      logger: silentLogger,
      fetch: (request) => fetched.push(request),
      findRepository,
    });
    return { store, tasks, healing, fetched, withdrawn, untold, ...key };
  }

  it('quarantines, withdraws and fetches once, however often it is told', async () => {
    const { healing, digest, tasks, fetched, withdrawn, untold, store } = await setUp();
    healing.fetched(digest, demoRepository);
    for (let time = 0; time < 3; time += 1) healing.rotten(digest, 'piece 0');
    await until(() => tasks.size === 0, 'it is done');
    expect([fetched, withdrawn]).toEqual([[{ digest, sizeBytes: 1000, repository: demoRepository }], [digest]]);
    expect(untold).toEqual([digest]);
    expect(await store.blobs.findBlob(digest)).toBeUndefined();
    healing.rotten(digest, 'piece 0');
    await until(() => tasks.size === 0, 'it is done');
    expect(fetched).toHaveLength(1);
  });

  it('asks where the blob came from when it was not fetched in this life', async () => {
    const { healing, digest, tasks, fetched } = await setUp(async () => demoRepository);
    healing.rotten(digest, 'piece 0');
    await until(() => tasks.size === 0, 'it is done');
    expect(fetched).toHaveLength(1);
  });

  it('only takes the blob out of use when nobody knows where it came from', async () => {
    const { healing, digest, tasks, fetched, withdrawn } = await setUp();
    healing.rotten(digest, 'piece 0');
    await until(() => tasks.size === 0, 'it is done');
    expect([fetched, withdrawn]).toEqual([[], [digest]]);
  });
});
