import { describe, expect, it } from 'vitest';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { ProvenSigners } from '../../../src/swarm/proven-signers.ts';
import { WithheldPieces } from '../../../src/swarm/withheld-pieces.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const anna = 'anna' as PeerId;
const ben = 'ben' as PeerId;

function setUp() {
  const clock = new FakeClock();
  const proven = new ProvenSigners(clock);
  let changes = 0;
  const withheld = new WithheldPieces(clock, proven, () => {
    changes += 1;
  });
  return { clock, proven, withheld, changes: () => changes };
}

describe('pieces that clients do not get yet', () => {
  it('are those of a new signer for two seconds after its first, and each for half a second', () => {
    const { clock, withheld, changes } = setUp();
    withheld.arrived(0, anna);
    clock.advance(1600);
    withheld.arrived(1, anna);
    withheld.arrived(2, ben);
    expect([0, 1, 2].map((index) => withheld.has(index))).toEqual([true, true, true]);
    expect(changes()).toBe(0);
    clock.advance(400);
    expect([0, 1, 2].map((index) => withheld.has(index))).toEqual([false, true, true]);
    clock.advance(100);
    expect([1, 2].map((index) => withheld.has(index))).toEqual([false, true]);
    clock.advance(1500);
    expect(withheld.has(2)).toBe(false);
    clock.advance(125);
    expect(changes()).toBe(3);
  });

  it('are half a second old at most if their signer has proven right, until it proves wrong', () => {
    const { clock, proven, withheld } = setUp();
    proven.judge([anna, ben], []);
    withheld.arrived(0, anna);
    clock.advance(500);
    expect(withheld.has(0)).toBe(false);
    proven.judge([anna, ben], [ben]);
    withheld.arrived(1, ben);
    clock.advance(500);
    expect(withheld.has(1)).toBe(true);
  });

  it('start no timer any more once they are closed or none is left', () => {
    const { clock, withheld, changes } = setUp();
    withheld.arrived(0, anna);
    clock.advance(5000);
    expect(changes()).toBe(1);
    expect(clock.pending).toBe(0);
    withheld.arrived(1, ben);
    withheld.close();
    withheld.arrived(2, ben);
    expect([clock.pending, withheld.has(1), withheld.has(2)]).toEqual([0, false, false]);
  });
});
