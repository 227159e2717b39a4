import { noise } from '@chainsafe/libp2p-noise';
import type { Connection, Stream } from '@libp2p/interface';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { generateIdentity } from '../../src/peer/identity.ts';
import { sessionProtocol } from '../../src/peer/libp2p/session.ts';
import { decodeSessionMessage, encodeSessionMessage } from '../../src/peer/libp2p/session-message.ts';
import { encodeFrame, receiveMessages } from '../../src/peer/libp2p/stream-messages.ts';
import type { Channel } from '../../src/peer/peer-network.ts';
import { patience } from '../support/patience.ts';
import { libp2pOptions, startTestNetwork } from '../support/peer-networks.ts';

const { maxChannelsPerPeer } = libp2pOptions;
let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

/** A network, and one foreign node that dials it as often as it likes. */
async function start() {
  const network = stack.use(await startTestNetwork(await generateIdentity()));
  const foreign = await createLibp2p({
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
  });
  stack.defer(async () => foreign.stop());
  const address = multiaddr(network.addresses()[0] ?? '');
  const dial = () => foreign.dial(address, { force: true });
  return { network, dial };
}

/** Says what a dialler says until the other side has answered; from then on it counts as a peer. */
async function greet(connection: Connection): Promise<void> {
  const stream = await connection.newStream(sessionProtocol);
  const answered = Promise.withResolvers<void>();
  const options = { maxMessageBytes: 1024, onBytes: () => {} };
  void receiveMessages(stream, options, (bytes) => {
    if (decodeSessionMessage(bytes).kind === 'hello') answered.resolve();
  }).catch(() => {});
  stream.send(encodeFrame(encodeSessionMessage({ kind: 'hello', major: 1, minor: 0, version: '0.0.0' })));
  await answered.promise;
  stream.send(encodeFrame(encodeSessionMessage({ kind: 'ready' })));
}

const countOpen = (all: readonly (Connection | Stream)[]) => all.filter(({ status }) => status === 'open').length;

it('keeps three connections of one peer at most, and among them the one that is used', async () => {
  const { network, dial } = await start();
  const connections: Connection[] = [];
  for (let index = 0; index < 6; index += 1) {
    const connection = await dial();
    await greet(connection);
    connections.push(connection);
    await vi.waitFor(() => expect(network.peers()).toHaveLength(1), patience);
  }
  await vi.waitFor(() => expect(countOpen(connections)).toBe(3), patience);
  expect(connections.map(({ status }) => status === 'open')).toEqual([true, false, false, false, true, true]);
  expect(network.peers()).toHaveLength(1);
});

it('counts connections that say no hello', async () => {
  const { dial } = await start();
  const connections: Connection[] = [];
  for (let index = 0; index < 6; index += 1) connections.push(await dial());
  await vi.waitFor(() => expect(countOpen(connections)).toBe(3), patience);
  expect(connections.slice(3).every(({ status }) => status === 'open')).toBe(true);
});

it('counts the channels of a peer over all its connections, and takes others when some have closed', async () => {
  const { network, dial } = await start();
  const accepted: Channel[] = [];
  network.handle('talk', (channel) => accepted.push(channel));
  const connections = [await dial(), await dial()];
  for (const connection of connections) await greet(connection);
  const streams: Stream[] = [];
  for (const connection of connections) {
    for (let index = 0; index < maxChannelsPerPeer - 2; index += 1) {
      streams.push(await connection.newStream('/shoal/talk/1'));
    }
  }
  await vi.waitFor(() => expect(countOpen(streams)).toBe(maxChannelsPerPeer), patience);
  await vi.waitFor(() => expect(accepted).toHaveLength(maxChannelsPerPeer), patience);
  for (const stream of streams.slice(0, 3)) stream.abort(new Error('no longer needed'));
  await vi.waitFor(
    () => expect(accepted.filter(({ isOpen }) => isOpen)).toHaveLength(maxChannelsPerPeer - 3),
    patience,
  );
  const [, other] = connections;
  const next = await other?.newStream('/shoal/talk/1');
  await vi.waitFor(() => expect(accepted).toHaveLength(maxChannelsPerPeer + 1), patience);
  expect(next?.status).toBe('open');
});
