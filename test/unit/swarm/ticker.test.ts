import { expect, it } from 'vitest';
import { Ticker } from '../../../src/swarm/ticker.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** Ticks every 100 ms while `needed` says so. */
function create() {
  const clock = new FakeClock();
  const state = { isNeeded: true };
  const ticks: { lateMs: number; tick: number }[] = [];
  const ticker = new Ticker(clock, 100, (lateMs, tick) => {
    ticks.push({ lateMs, tick });
    return state.isNeeded;
  });
  return { clock, state, ticks, ticker };
}

it('ticks after each interval while it is needed', () => {
  const { clock, state, ticks, ticker } = create();
  ticker.start();
  clock.advance(250);
  expect(ticks).toEqual([
    { lateMs: 0, tick: 1 },
    { lateMs: 0, tick: 2 },
  ]);
  state.isNeeded = false;
  clock.advance(10_000);
  expect([ticks.length, clock.pending]).toEqual([3, 0]);
});

it('waits for nothing before it is started, and once however often that is', () => {
  const { clock, ticks, ticker } = create();
  clock.advance(1_000);
  expect([ticks.length, clock.pending]).toEqual([0, 0]);
  ticker.start();
  ticker.start();
  expect(clock.pending).toBe(1);
});

it('goes on where it ended when it is started again', () => {
  const { clock, state, ticks, ticker } = create();
  state.isNeeded = false;
  ticker.start();
  clock.advance(1_000);
  state.isNeeded = true;
  ticker.start();
  clock.advance(100);
  expect(ticks.map(({ tick }) => tick)).toEqual([1, 2]);
});

it('tells how late it comes when the event loop stood still', () => {
  const timers = new FakeClock();
  const lateMs: number[] = [];
  let nowMs = 0;
  const clock = { nowMs: () => nowMs, wallMs: () => 0, schedule: timers.schedule.bind(timers) };
  const ticker = new Ticker(clock, 100, (late) => {
    lateMs.push(late);
    return true;
  });
  ticker.start();
  nowMs = 370;
  timers.advance(100);
  nowMs = 470;
  timers.advance(100);
  expect(lateMs).toEqual([270, 0]);
});

it('ends at once when it is stopped', () => {
  const { clock, ticks, ticker } = create();
  ticker.start();
  ticker.stop();
  clock.advance(1_000);
  expect([ticks.length, clock.pending]).toEqual([0, 0]);
});
