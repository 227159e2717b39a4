import { expect, it } from 'vitest';
import type { Digest } from '../../../src/oci/digest.ts';
import { hearOut } from '../../../src/swarm/start-downloads.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const [one, two] = ['1', '2'].map((hex) => `sha256:${hex.repeat(64)}`) as [Digest, Digest];

/** Waits for members greeted for two blobs, for two seconds. */
function start() {
  const clock = new FakeClock();
  const silent = new Set<Digest>([one, two]);
  const listeners = new Set<() => void>();
  const lag = { moreMs: 0 };
  const talk = {
    isHeardOut: (digest: Digest) => !silent.has(digest),
    onHeardOut: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const stopping = new AbortController();
  let end: unknown;
  const begin = () =>
    hearOut({ clock, talk, lag }, [one, two], 2_000, stopping.signal).then(
      () => (end = 'over'),
      (error) => (end = error),
    );
  const hear = async (digest: Digest) => {
    silent.delete(digest);
    for (const listener of listeners) listener();
    await clock.advanceAsync(0);
  };
  return { clock, lag, stopping, begin, hear, silent, ended: () => end, rests: () => listeners.size + clock.pending };
}

it('hearing members out ends with the last of them', async () => {
  const { begin, hear, ended, rests } = start();
  void begin();
  await hear(one);
  expect(ended()).toBeUndefined();
  await hear(two);
  expect([ended(), rests()]).toEqual(['over', 0]);
});

it('takes no time when there is nobody to hear', async () => {
  const { begin, silent, rests } = start();
  silent.clear();
  await begin();
  expect(rests()).toBe(0);
});

it('ends when their time is up, later on a node that runs late itself', async () => {
  const { begin, clock, lag, ended, rests } = start();
  void begin();
  lag.moreMs = 4_000;
  await clock.advanceAsync(5_999);
  expect(ended()).toBeUndefined();
  lag.moreMs = 1_000;
  await clock.advanceAsync(1);
  expect([ended(), rests()]).toEqual(['over', 0]);
});

it('ends with the node', async () => {
  const { begin, clock, stopping, ended, rests } = start();
  void begin();
  await clock.advanceAsync(100);
  stopping.abort(new Error('stop'));
  await clock.advanceAsync(0);
  expect([ended(), rests()]).toEqual([new Error('stop'), 0]);
});
