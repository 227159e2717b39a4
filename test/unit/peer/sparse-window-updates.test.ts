import type { Stream } from '@libp2p/interface';
import { expect, test } from 'vitest';
import { sparseWindowUpdates } from '../../../src/peer/libp2p/sparse-window-updates.ts';

function windowedStream() {
  const stream = {
    recvWindow: 1000,
    recvWindowCapacity: 1000,
    updates: 0,
    sendWindowUpdate() {
      stream.updates += 1;
      stream.recvWindowCapacity = stream.recvWindow;
    },
  };
  return stream;
}

test('the first update leaves, later ones when half of the window is used', () => {
  const stream = windowedStream();
  sparseWindowUpdates(stream as unknown as Stream);
  stream.recvWindowCapacity = 990;
  stream.sendWindowUpdate();
  expect(stream.updates).toBe(1);
  stream.recvWindowCapacity = 501;
  stream.sendWindowUpdate();
  expect(stream.updates).toBe(1);
  stream.recvWindowCapacity = 500;
  stream.sendWindowUpdate();
  expect(stream).toMatchObject({ updates: 2, recvWindowCapacity: 1000 });
});

test('a stream of another muxer is left as it is', () => {
  const stream = { send: () => true };
  sparseWindowUpdates(stream as unknown as Stream);
  expect(Object.keys(stream)).toEqual(['send']);
});
