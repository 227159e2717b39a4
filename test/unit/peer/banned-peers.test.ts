import { expect, test } from 'vitest';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { BannedPeers } from '../../../src/peer/banned-peers.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const [alice, bob] = ['alice', 'bob'] as PeerId[] as [PeerId, PeerId];

test('a banned peer is refused for its time, counted from the last ban', () => {
  const clock = new FakeClock();
  const banned = new BannedPeers(clock);
  banned.add(alice, 1_000);
  clock.advance(999);
  banned.add(bob, 1);
  banned.add(alice, 1_000);
  clock.advance(999);
  expect([banned.has(alice), banned.has(bob)]).toEqual([true, false]);
  clock.advance(1);
  expect(banned.has(alice)).toBe(false);
});

test('the oldest ban makes room', () => {
  const banned = new BannedPeers(new FakeClock());
  for (let at = 0; at < 1_025; at += 1) banned.add(`p${at}` as PeerId, 1_000);
  expect([banned.has('p0' as PeerId), banned.has('p1' as PeerId)]).toEqual([false, true]);
});
