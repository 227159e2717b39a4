import { describe, expect, it } from 'vitest';
import { DialPlan } from '../../../src/discovery/membership/dial-plan.ts';
import { testPeer } from '../../support/discovery.ts';

const self = testPeer('self');
const [a, b] = [testPeer('a'), testPeer('b')];
const options = { self, retryMinMs: 100, retryMaxMs: 10_000, forgetAfterMs: 60_000, maxTargets: 4 };
/** Always draws the longest wait. */
const slowest = { next: () => 1 - Number.EPSILON };

const plan = () => new DialPlan(slowest, options);
const addresses = (targets: readonly { address: string }[]) => targets.map((target) => target.address);

describe('dial plan', () => {
  it('dials a target once at a time', () => {
    const one = plan();
    one.offer('x', 'static', 0);
    expect(addresses(one.take(0, 10, 9))).toEqual(['x']);
    expect(one.take(0, 10, 9)).toEqual([]);
    expect(one.isSettled).toBe(false);
    one.failed('x', 0, 'unreachable');
    expect(one.isSettled).toBe(true);
  });

  it('backs off twice as long each time, up to the maximum, and never gives up', () => {
    const one = plan();
    one.offer('x', 'static', 0);
    let nowMs = 0;
    const waits: number[] = [];
    for (let at = 0; at < 12; at += 1) {
      expect(one.take(nowMs, 1, 9)).toHaveLength(1);
      one.failed('x', nowMs, 'unreachable');
      waits.push((one.nextDueAtMs() ?? 0) - nowMs);
      nowMs = one.nextDueAtMs() ?? 0;
    }
    expect(waits).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000, 10_000, 10_000]);
  });

  it('does not dial a peer that is connected, and dials it again soon after it has gone', () => {
    const one = plan();
    one.offer('x', 'static', 0);
    one.take(0, 1, 9);
    one.succeeded('x', a, 0);
    one.connected(a);
    expect(one.take(1e9, 1, 9)).toEqual([]);
    expect(one.nextDueAtMs()).toBeUndefined();
    one.disconnected(a, 1000);
    expect(one.nextDueAtMs()).toBe(1100);
    expect(addresses(one.take(1100, 1, 9))).toEqual(['x']);
  });

  it('dials one address of a peer at a time', () => {
    const one = plan();
    one.offer('x', 'dht', 0, a);
    one.offer('y', 'dht', 0, a);
    one.offer('z', 'dht', 0, b);
    expect(addresses(one.take(0, 10, 9))).toEqual(['x', 'z']);
    one.failed('x', 0, 'unreachable');
    expect(addresses(one.take(0, 10, 9))).toEqual(['y']);
  });

  it('never dials itself', () => {
    const one = plan();
    one.offer('own', 'dht', 0, self);
    one.offer('x', 'dns', 0);
    one.offer('y', 'dns', 0);
    one.take(0, 2, 9);
    one.succeeded('x', self, 0);
    one.failed('y', 0, 'self');
    expect(one.take(59_000, 10, 9)).toEqual([]);
    expect(one.size).toBe(2);
  });

  it('leaves members alone that others told of when there are enough connections', () => {
    const one = plan();
    one.offer('x', 'dht', 0, a);
    one.offer('y', 'dns', 0);
    expect(addresses(one.take(0, 10, 0))).toEqual(['y']);
  });

  it('forgets what nobody offers any more, but not what is configured or connected', () => {
    const one = plan();
    one.offer('static', 'static', 0);
    one.offer('old', 'dns', 0);
    one.offer('kept', 'dns', 0, a);
    one.connected(a);
    one.forget(60_000);
    expect(addresses(one.take(60_000, 10, 9))).toEqual(['static']);
    expect(one.size).toBe(2);
  });

  it('holds no more targets than it may, static ones excepted', () => {
    const one = plan();
    for (let at = 0; at < 10; at += 1) one.offer(`dns ${at}`, 'dns', 0);
    one.offer('static', 'static', 0);
    expect(one.size).toBe(5);
  });

  it('names the best known source of a peer', () => {
    const one = plan();
    one.offer('x', 'dht', 0, a);
    expect(one.sourceOf(a)).toBe('dht');
    one.offer('y', 'static', 0, a);
    expect(one.sourceOf(a)).toBe('static');
    expect(one.sourceOf(b)).toBeUndefined();
  });
});
