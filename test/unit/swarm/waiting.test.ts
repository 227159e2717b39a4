import { describe, expect, it, test } from 'vitest';
import { type DownloadState, markHeld, type RequestState } from '../../../src/swarm/schedule/state.ts';
import { findWait } from '../../../src/swarm/schedule/waiting.ts';
import type { Transfer, TransferWait } from '../../../src/swarm/swarm.ts';
import { TransferAccount } from '../../../src/swarm/transfer-account.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { alice, bob, digest, downloadOf, join, MiB, options, self } from './schedule-fixtures.ts';

const nowMs = 10_000;

function ask(download: DownloadState, peer: RequestState['peer'], pieces: readonly number[], quietMs = 0): void {
  const request: RequestState = {
    id: 1,
    digest,
    peer,
    first: pieces[0] ?? 0,
    count: pieces.length,
    startedMs: 0,
    progressMs: nowMs - quietMs,
    receivedBytes: 1,
    isHedged: false,
    isRace: false,
    promisedMs: undefined,
    stoodStill: false,
    isStalled: false,
  };
  for (const piece of pieces) download.flights.set(piece, new Set([...(download.flights.get(piece) ?? []), request]));
}

const all = (download: DownloadState) => Array.from({ length: download.plan.pieceCount }, (_, piece) => piece);

describe('what a download waits for', () => {
  const table: readonly { when: string; arrange: (download: DownloadState) => void; wait: TransferWait }[] = [
    {
      when: 'nothing may be asked before the directory has answered',
      arrange: (download) => Object.assign(download, { originNotBeforeMs: nowMs + 1 }),
      wait: { for: 'directory' },
    },
    {
      when: 'the origin failed and is given a pause',
      arrange: (download) => Object.assign(download, { originNotBeforeMs: nowMs + 1, originFailures: 1 }),
      wait: { for: 'silentOrigin' },
    },
    {
      when: 'the origin failed and is asked again',
      arrange: (download) => {
        Object.assign(download, { originFailures: 1 });
        ask(download, undefined, [0]);
        for (const flights of download.flights.values()) for (const request of flights) request.receivedBytes = 0;
      },
      wait: { for: 'silentOrigin' },
    },
    { when: 'its turn has not come', arrange: () => {}, wait: { for: 'queue' } },
    {
      when: 'another node takes its turn at the origin',
      arrange: (download) => {
        join(download, alice, []);
        download.extents[0]?.claims.set(alice, { sinceMs: nowMs, progressMs: nowMs, receivedBytes: 0 });
      },
      wait: { for: 'origin' },
    },
    {
      when: 'another node took its turn and gets nothing',
      arrange: (download) => {
        join(download, alice, []);
        download.extents[0]?.claims.set(alice, { sinceMs: 0, progressMs: 0, receivedBytes: 0 });
      },
      wait: { for: 'silentOrigin' },
    },
    {
      when: 'neither this node nor any other may ask the origin',
      arrange: (download) => Object.assign(download, { canAskOrigin: false }),
      wait: { for: 'nobody' },
    },
    {
      when: 'peers hold all and none has been asked',
      arrange: (download) => void join(download, alice, 'all'),
      wait: { for: 'queue' },
    },
    {
      when: 'the origin sends',
      arrange: (download) => ask(download, undefined, [0, 1, 2]),
      wait: { for: 'origin' },
    },
    {
      when: 'the origin has sent nothing for a while',
      arrange: (download) => ask(download, undefined, [0, 1, 2], 600),
      wait: { for: 'silentOrigin' },
    },
    {
      when: 'peers hold more than they were asked for',
      arrange: (download) => {
        join(download, alice, 'all');
        ask(download, alice, [0, 1]);
      },
      wait: { for: 'peers' },
    },
    {
      when: 'all that peers hold is on its way, and the rest nobody holds',
      arrange: (download) => {
        join(download, alice, [0, 1]);
        ask(download, alice, [0, 1]);
      },
      wait: { for: 'origin' },
    },
    {
      when: 'the last pieces are on their way from peers',
      arrange: (download) => {
        join(download, alice, 'all');
        for (const piece of all(download).slice(2)) markHeld(download, piece);
        ask(download, alice, [0, 1]);
      },
      wait: { for: 'peers' },
    },
    {
      when: 'one peer stands still and another sends',
      arrange: (download) => {
        join(download, alice, 'all');
        join(download, bob, 'all');
        ask(download, alice, [0], 5_000);
        ask(download, bob, [1]);
      },
      wait: { for: 'peers' },
    },
    {
      when: 'nothing moves, and one peer has been still for longest',
      arrange: (download) => {
        join(download, alice, 'all');
        join(download, bob, 'all');
        ask(download, alice, [0], 700);
        ask(download, bob, [1], 5_000);
      },
      wait: { for: 'silentPeer', peer: bob },
    },
  ];
  test.each(table)('when $when', ({ arrange, wait }) => {
    const download = downloadOf(8 * MiB);
    arrange(download);
    expect(findWait(download, nowMs, options)).toEqual(wait);
  });
});

describe('the account of a transfer', () => {
  it('gives each wait its time, and that of a silent peer to the peer', () => {
    const clock = new FakeClock();
    const account = new TransferAccount(clock);
    clock.advance(100);
    account.waitFor({ for: 'silentPeer', peer: alice });
    clock.advance(2_000);
    account.waitFor({ for: 'peers' });
    clock.advance(50);
    expect(account.waitedMs()).toEqual({ directory: 100, silentPeer: 2_000, peers: 50 });
    account.waitFor(undefined);
    clock.advance(1_000);
    expect(account.waitedMs()).toEqual({ directory: 100, silentPeer: 2_000, peers: 50 });
    expect(account.wait).toBeUndefined();
    expect(account.peers()).toEqual([{ peer: alice, bytes: 0, bytesPerSecond: 0, stalls: 0, waitedMs: 2_000 }]);
  });

  it('knows rates by source over the last few seconds, and none once it has ended', () => {
    const clock = new FakeClock();
    const account = new TransferAccount(clock);
    for (let second = 0; second < 10; second += 0.1) {
      account.received(undefined, 1_000);
      account.received(self, second < 5 ? 500 : 0);
      clock.advance(100);
    }
    expect(account.originBytesPerSecond()).toBeGreaterThan(9_000);
    expect(account.originBytesPerSecond()).toBeLessThan(11_000);
    expect(account.peers()).toMatchObject([{ peer: self, bytesPerSecond: 0 }]);
    clock.advance(3_500);
    expect(account.originBytesPerSecond()).toBe(0);
    account.received(alice, 9_000);
    expect(account.peers().at(-1)).toMatchObject({ peer: alice, bytesPerSecond: 3_000 });
    account.waitFor(undefined);
    expect(account.peers().every(({ bytesPerSecond }) => bytesPerSecond === 0)).toBe(true);
  });

  it('counts stalls and pieces by peer', () => {
    const account = new TransferAccount(new FakeClock());
    account.stored(0, 7, { from: 'peer', peer: alice });
    account.stalled(bob);
    account.stalled(bob);
    expect(account.stalls).toBe(2);
    expect(account.peers()).toMatchObject([
      { peer: alice, bytes: 7, stalls: 0 },
      { peer: bob, bytes: 0, stalls: 2 },
    ]);
  });

  it('goes on where that of the earlier attempt ended, the rest between them among what it waited for', () => {
    const clock = new FakeClock();
    const { earlier } = endedAt(clock, { origin: 3, peer: 7, local: 0 });
    clock.advance(4_000);
    const account = new TransferAccount(clock, earlier);
    account.found(new Map([3, 7].map((bytes, piece) => [piece, bytes])));
    expect([account.bytes, account.stalls]).toEqual([{ origin: 3, peer: 7, local: 0 }, 2]);
    expect(account.peers()).toMatchObject([{ peer: alice, bytes: 7, stalls: 2, waitedMs: 30 }]);
    account.stored(2, 5, { from: 'origin' });
    clock.advance(50);
    account.waitFor(undefined);
    expect(account.waitedMs()).toEqual({ origin: 60, nobody: 4_000, directory: 50 });
    expect(account.bytes).toEqual({ origin: 8, peer: 7, local: 0 });
  });

  it.each([
    ['more than it spoke of: nobody knows whence', [3, 7, 2], { origin: 3, peer: 7, local: 2 }],
    ['less', [3], { origin: 3, peer: 0, local: 0 }],
    ['nothing', [], { origin: 0, peer: 0, local: 0 }],
  ])('adds up to what is held where the earlier attempt left %s', (_, pieces, bytes) => {
    const clock = new FakeClock();
    const account = new TransferAccount(clock, endedAt(clock, { origin: 3, peer: 7, local: 0 }).earlier);
    account.found(new Map(pieces.map((size, piece) => [piece, size])));
    expect(account.bytes).toEqual(bytes);
    account.stored(9, 5, { from: 'peer', peer: bob });
    for (const piece of pieces.keys()) account.dropped(piece);
    expect(account.bytes).toEqual({ origin: 0, peer: 5, local: 0 });
    account.dropped(9);
    expect(account.bytes).toEqual({ origin: 0, peer: 0, local: 0 });
  });

  it('counts what was here before as local when nothing is known of it', () => {
    const account = new TransferAccount(new FakeClock());
    account.found(new Map([[0, 9]]));
    expect(account.bytes).toEqual({ origin: 0, peer: 0, local: 9 });
  });
});

function endedAt(clock: FakeClock, bytes: Transfer['bytes']) {
  const endedAtMs = clock.wallMs();
  const peers = [{ peer: alice, bytes: bytes.peer, bytesPerSecond: 0, stalls: 2, waitedMs: 30 }];
  const earlier = { startedAtMs: endedAtMs - 90, endedAtMs, bytes, peers, stalls: 2, waitedMs: { origin: 60 } };
  return { earlier: earlier as unknown as Transfer };
}
