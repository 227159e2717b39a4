import { describe, expect, it } from 'vitest';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { seededRandom } from '../../../src/lib/clock.ts';
import { TaskGroup } from '../../../src/lib/task-group.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import type { Repository } from '../../../src/oci/repository.ts';
import { BanList } from '../../../src/swarm/bans.ts';
import { Ledger } from '../../../src/swarm/ledger.ts';
import { Resumption } from '../../../src/swarm/resumption.ts';
import { Stalls } from '../../../src/swarm/stalls.ts';
import type { BlobRequest, Transfer } from '../../../src/swarm/swarm.ts';
import { UploadQueue, type UploadTicket } from '../../../src/swarm/upload-queue.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { alice, bob, carol, digest } from './schedule-fixtures.ts';

describe('the ban list', () => {
  it('forgets a ban after its time', () => {
    const clock = new FakeClock();
    const bans = new BanList(clock, { banMs: 1_000 });
    bans.add(alice, 'signed wrong piece', 'piece 3');
    expect(bans.find(alice)).toEqual({
      reason: 'signed wrong piece',
      evidence: 'piece 3',
      sinceMs: clock.wallMs(),
      forMs: 1_000,
    });
    clock.advance(999);
    expect([...bans.list().keys()]).toEqual([alice]);
    clock.advance(1);
    expect(bans.list().size).toBe(0);
    expect(bans.has(alice)).toBe(false);
  });

  it('forgets each ban after its own time', () => {
    const clock = new FakeClock();
    const bans = new BanList(clock, { banMs: 1_000 });
    bans.add(alice, 'stalls', '', 100);
    bans.add(bob, 'wrong bytes', '');
    clock.advance(100);
    expect([...bans.list().keys()]).toEqual([bob]);
  });

  it('cuts off whose word is worth nothing, and only shuns who sends badly', () => {
    const bans = new BanList(new FakeClock(), { banMs: 1_000 });
    bans.add(alice, 'stalls', '');
    bans.add(bob, 'broke the protocol', '');
    bans.add(carol, 'signed wrong piece', '');
    const [dave, erin] = ['dave', 'erin'] as PeerId[];
    bans.add(dave!, 'wrong bytes', '');
    bans.add(erin!, 'false signature', '');
    expect([alice, bob, carol, dave!, erin!].map((peer) => [bans.has(peer), bans.shuns(peer)])).toEqual([
      [false, true],
      [false, true],
      [true, false],
      [false, true],
      [true, false],
    ]);
    expect(bans.list().size).toBe(5);
  });

  it('believes no signature of who sent wrong bytes or signed what is false', () => {
    const bans = new BanList(new FakeClock(), { banMs: 1_000 });
    const doubted = (
      ['stalls', 'broke the protocol', 'wrong bytes', 'false signature', 'signed wrong piece'] as const
    ).map((reason) => {
      bans.add(alice, reason, '');
      return bans.doubts(alice);
    });
    expect(doubted).toEqual([false, false, true, true, true]);
    expect(bans.doubts(bob)).toBe(false);
  });

  it('knows whether a ban is for something as bad', () => {
    const clock = new FakeClock();
    const bans = new BanList(clock, { banMs: 1_000 });
    expect(bans.covers(alice, 'stalls')).toBe(false);
    bans.add(alice, 'wrong bytes', '');
    expect(bans.covers(alice, 'stalls')).toBe(true);
    expect(bans.covers(alice, 'wrong bytes')).toBe(true);
    expect(bans.covers(alice, 'signed wrong piece')).toBe(false);
    clock.advance(1_000);
    expect(bans.covers(alice, 'stalls')).toBe(false);
  });

  it('makes room by the oldest ban', () => {
    const bans = new BanList(new FakeClock(), { banMs: 1_000 });
    for (let at = 0; at < 1_025; at += 1) bans.add(`p${at}` as PeerId, 'signed wrong piece', '');
    expect(bans.list().size).toBe(1_024);
    expect(bans.has('p0' as PeerId)).toBe(false);
  });
});

describe('the stalls', () => {
  const setUp = () => {
    const clock = new FakeClock();
    const stalls = new Stalls(clock, { peerStallMs: 2_000 });
    /** A request begins now and ends four seconds later without a byte. */
    const round = (wasPromised: boolean, peer = alice) => {
      const startedMs = clock.nowMs();
      clock.advance(4_000);
      return stalls.silent({ peer, startedMs, promisedMs: wasPromised ? startedMs : undefined });
    };
    return { clock, stalls, round };
  };

  it('hold two answers in a row that begin and bring nothing against a peer', () => {
    const { round } = setUp();
    expect([round(true), round(true)]).toEqual([
      undefined,
      '2 requests in a row within 8 s brought no byte, though it answers',
    ]);
  });

  it('hold twice as many requests against a peer that may only be busy', () => {
    const { round } = setUp();
    expect(Array.from({ length: 6 }, () => round(false) !== undefined)).toEqual([...Array(5).fill(false), true]);
  });

  it('count from when the answer began', () => {
    const { clock, stalls } = setUp();
    const silent = () => {
      const startedMs = clock.nowMs();
      clock.advance(60_000);
      const promisedMs = clock.nowMs();
      clock.advance(2_999);
      return stalls.silent({ peer: alice, startedMs, promisedMs });
    };
    expect([silent(), silent()]).toEqual([undefined, undefined]);
    expect(silent()).toContain('3 requests');
  });

  it('hold nothing against a peer that sent a byte in between', () => {
    const { stalls, round } = setUp();
    for (let time = 0; time < 9; time += 1) {
      expect(round(true)).toBeUndefined();
      stalls.moving(alice);
    }
  });

  it('count what overlaps once: a peer that froze under several requests is not one that stalls', () => {
    const { clock, stalls } = setUp();
    const silentSince = (startedMs: number) => stalls.silent({ peer: alice, startedMs, promisedMs: startedMs });
    clock.advance(4_000);
    for (let at = 0; at < 9; at += 1) expect(silentSince(clock.nowMs() - 4_000 + at)).toBeUndefined();
  });

  it('forget what is long ago, and the peer that stalled first when there are too many', () => {
    const { clock, round } = setUp();
    round(true);
    clock.advance(600_001);
    expect(round(true)).toBeUndefined();
    for (let at = 0; at < 1_024; at += 1) round(false, `p${at}` as PeerId);
    expect(round(true)).toBeUndefined();
  });
});

describe('the ledger', () => {
  it('keeps one account per peer and starts over rather than grow without bound', () => {
    const ledger = new Ledger();
    ledger.accountOf(alice).sent += 5;
    expect(ledger.accountOf(alice).sent).toBe(5);
    for (let at = 0; at < 8_192; at += 1) ledger.accountOf(`p${at}` as PeerId);
    expect(ledger.accounts.size).toBeLessThanOrEqual(8_192);
  });

  it('keeps the latest transfers', () => {
    const ledger = new Ledger();
    for (let at = 0; at < 300; at += 1) ledger.transferEnded({ sizeBytes: at } as Transfer);
    expect([ledger.ended.length, ledger.ended[0]!.sizeBytes]).toEqual([256, 44]);
  });
});

describe('a transfer that is taken up again', () => {
  const request = { digest, sizeBytes: 9, repository: { namespace: 'origin.lan', name: 'app' } as Repository };
  const { sizeBytes } = request;
  const failed = (figures: Partial<Transfer> = {}) =>
    ({ digest, sizeBytes, state: 'failed', startedAtMs: 1_000, endedAtMs: 2_000, ...figures }) as Transfer;

  it('is the latest of its blob, which is out of the ledger then, or one of an earlier life', () => {
    const ledger = new Ledger(() => failed({ hedges: 1 }));
    const [first, second] = [failed({ endedAtMs: 1_500 }), failed()];
    for (const transfer of [first, second]) ledger.transferEnded(transfer);
    expect(ledger.takeFailed(request, 3_000)).toBe(second);
    expect(ledger.ended).toEqual([first]);
    expect(new Ledger(() => failed({ hedges: 1 })).takeFailed(request, 3_000)).toEqual(failed({ hedges: 1 }));
  });

  it.each<[string, Partial<Transfer>]>([
    ['complete', { state: 'complete' }],
    ['of a blob of another size', { sizeBytes: 10 }],
    ['over five minutes old', { startedAtMs: -600_000, endedAtMs: -298_001 }],
    ['later than now', { endedAtMs: 2_001 }],
    ['ended before it began', { startedAtMs: 2_000, endedAtMs: 1_999 }],
  ])('is none that is %s', (_, figures) => {
    const ledger = new Ledger();
    ledger.transferEnded(failed(figures));
    expect(ledger.takeFailed(request, 2_000)).toBeUndefined();
    expect(ledger.ended).toHaveLength(1);
  });
});

describe('the upload queue', () => {
  function setUp(slots: number, maxWaiting = 8) {
    const queue = new UploadQueue({ slots, maxWaiting });
    const granted: string[] = [];
    const ticket = (peer: PeerId, pieceKey: string, isUrgent = false): UploadTicket => ({
      peer,
      pieceKey,
      isUrgent,
      grant: () => granted.push(`${peer} ${pieceKey}`),
    });
    return { queue, granted, ticket };
  }

  it('grants while there are slots, then queues, then refuses', () => {
    const { queue, granted, ticket } = setUp(1, 1);
    expect([queue.enter(ticket(alice, 'a')), queue.enter(ticket(bob, 'a')), queue.enter(ticket(carol, 'a'))]).toEqual([
      true,
      true,
      false,
    ]);
    expect([granted, queue.running, queue.waiting]).toEqual([['alice a'], 1, 1]);
  });

  it('sends what was sent least often first, then to whom it sends least, then in order', () => {
    const { queue, granted, ticket } = setUp(2);
    const first = ticket(alice, 'common');
    queue.enter(first);
    const second = ticket(alice, 'other');
    queue.enter(second);
    for (const [peer, key] of [
      [alice, 'common'],
      [alice, 'new'],
      [bob, 'new'],
      [carol, 'newer'],
    ] as const)
      queue.enter(ticket(peer, key));
    granted.length = 0;
    queue.release(first);
    queue.release(second);
    expect(granted).toEqual(['bob new', 'carol newer']);
  });

  it('lets the first pieces of a blob past the others, within a bound', () => {
    const { queue, granted, ticket } = setUp(1, 100);
    queue.enter(ticket(alice, 'big'));
    const urgent = Array.from({ length: 10 }, (_, at) => ticket(bob, `head${at}`, true));
    for (const each of urgent) queue.enter(each);
    expect(queue.running).toBe(9);
    queue.release(urgent[0]!);
    expect([queue.running, granted.at(-1)]).toEqual([9, 'bob head8']);
  });

  it('grants nothing to who left', () => {
    const { queue, granted, ticket } = setUp(1);
    const first = ticket(alice, 'a');
    const leaving = ticket(bob, 'b');
    queue.enter(first);
    queue.enter(leaving);
    expect([queue.leave(leaving), queue.leave(leaving), queue.leave(first)]).toEqual([true, false, false]);
    queue.release(first);
    expect([granted, queue.running]).toEqual([['alice a'], 0]);
  });
});

describe('the resumption of failed downloads', () => {
  const request: BlobRequest = { digest, sizeBytes: 1, repository: { namespace: 'n', name: 'r' } };

  function setUp(resumeForMs: number) {
    const clock = new FakeClock();
    const errors: Error[] = [];
    const tasks = new TaskGroup((error) => errors.push(error));
    const retriedAtMs: number[] = [];
    let isHealed = false;
    const resumption: Resumption = new Resumption(
      {
        clock,
        random: seededRandom(1),
        tasks,
        retry: ([again]) => {
          retriedAtMs.push(clock.nowMs());
          if (isHealed) resumption.forget(again!.digest);
          else resumption.failed(again!.digest, [again!]);
        },
      },
      { resumeForMs },
    );
    const heal = () => {
      isHealed = true;
    };
    return { clock, tasks, resumption, retriedAtMs, heal, errors };
  }

  it('tries again after growing pauses of one to fifteen seconds, and gives up in the end', async () => {
    const { clock, resumption, retriedAtMs } = setUp(120_000);
    resumption.failed(digest, [request]);
    await clock.advanceAsync(600_000);
    const pauses = retriedAtMs.map((at, index) => at - (retriedAtMs[index - 1] ?? 0));
    expect(pauses[0]).toBeGreaterThanOrEqual(500);
    expect(pauses[0]).toBeLessThanOrEqual(1_500);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(15_000);
    expect(Math.max(...pauses)).toBeGreaterThan(7_000);
    expect(retriedAtMs.at(-1)).toBeLessThanOrEqual(120_000);
    expect([resumption.size, clock.pending]).toEqual([0, 0]);
  });

  it('stops when the blob is complete', async () => {
    const { clock, resumption, retriedAtMs, heal } = setUp(120_000);
    resumption.failed(digest, [request]);
    await clock.advanceAsync(5_000);
    heal();
    await clock.advanceAsync(60_000);
    const { length } = retriedAtMs;
    await clock.advanceAsync(60_000);
    expect([retriedAtMs.length, resumption.size]).toEqual([length, 0]);
  });

  it('stops when a client asks for the blob', async () => {
    const { clock, resumption, retriedAtMs, errors } = setUp(120_000);
    resumption.failed(digest, [request]);
    resumption.forget(digest);
    await clock.advanceAsync(60_000);
    expect([retriedAtMs, clock.pending, errors]).toEqual([[], 0, []]);
  });

  it('does nothing when it may not', async () => {
    const { clock, resumption, retriedAtMs } = setUp(0);
    resumption.failed(digest, [request]);
    await clock.advanceAsync(60_000);
    expect([retriedAtMs, resumption.size]).toEqual([[], 0]);
  });

  it('holds no more blobs than its bound, and nothing after a stop', async () => {
    const { clock, resumption, tasks } = setUp(120_000);
    for (let at = 0; at < 300; at += 1) resumption.failed(`sha256:${at}` as Digest, [request]);
    expect(resumption.size).toBe(256);
    await tasks.stop();
    expect([tasks.size, clock.pending]).toEqual([0, 0]);
  });
});
