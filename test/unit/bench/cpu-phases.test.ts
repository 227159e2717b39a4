import { expect, it } from 'vitest';
import { phasesOf } from '../../../bench/lab/cpu-phases.ts';
import { splitCpu } from '../../../bench/lab/cpu-split.ts';

const spent = (mainSeconds: number, hashSeconds = 0) =>
  splitCpu([
    { name: 'MainThread', userSeconds: mainSeconds, kernelSeconds: 0 },
    { name: 'libuv-worker', userSeconds: 0, kernelSeconds: 0.5 },
    { name: 'shoal-hash', userSeconds: hashSeconds, kernelSeconds: 0 },
  ]);

it('adds up what a node does with each byte, hashing apart from receiving', () => {
  const costs = { fromOrigin: spent(2, 0.6), fromPeer: spent(1, 0.5), toPeer: spent(1.5), toClient: spent(0.25) };
  expect(phasesOf(costs, 2 ** 29)).toEqual({
    receivedFromOrigin: 5,
    receivedFromPeer: 3,
    verified: 1,
    seeded: 4,
    served: 1.5,
    sum: 9.5,
  });
});
