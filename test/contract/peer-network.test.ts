import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { isCode } from '../../src/lib/errors.ts';
import { type Channel, maxMessageBytes, type PeerChange, type PeerNetwork } from '../../src/peer/peer-network.ts';
import { patience } from '../support/patience.ts';
import { createLibp2pKit, createMemoryKit, type NetworkKit } from '../support/peer-networks.ts';

const { signal } = new AbortController();

describe.each([
  ['memory', createMemoryKit],
  ['libp2p', createLibp2pKit],
])('PeerNetwork on %s', (_name, createKit) => {
  let kit: NetworkKit;
  beforeEach(async () => {
    kit = await createKit();
  });
  afterEach(() => kit[Symbol.asyncDispose]());

  const addressOf = (network: PeerNetwork) => network.addresses()[0] ?? '';
  const sees = (network: PeerNetwork, other: PeerNetwork) =>
    vi.waitFor(() => {
      if (network.findPeer(other.self) === undefined) throw new Error('not connected yet');
    }, patience);
  const lost = (network: PeerNetwork, other: PeerNetwork) =>
    vi.waitFor(() => {
      if (network.findPeer(other.self) !== undefined) throw new Error('still connected');
    }, patience);

  async function pair() {
    const [left, right] = [await kit.join(), await kit.join()];
    await left.dial(addressOf(right), signal);
    await sees(right, left);
    return { left, right };
  }

  async function channelPair(protocol = 'talk') {
    const { left, right } = await pair();
    const accepted = Promise.withResolvers<Channel>();
    right.handle(protocol, accepted.resolve);
    const here = await left.openChannel(right.self, protocol, signal);
    return { left, right, here, there: await accepted.promise };
  }

  it('dials by address with and without peer ID and tells both sides', async () => {
    const [left, right] = [await kit.join(), await kit.join()];
    const changes: PeerChange[] = [];
    right.onPeerChange((change) => changes.push(change));
    const bare = addressOf(right).replace(/\/p2p\/.*/, '');
    expect(await left.dial(bare, signal)).toBe(right.self);
    expect(await left.dial(addressOf(right), signal)).toBe(right.self);
    await sees(right, left);
    expect(left.peers().map((peer) => peer.peer)).toEqual([right.self]);
    expect(left.findPeer(right.self)?.host).toBeTypeOf('string');
    expect(changes).toEqual([{ kind: 'connected', peer: left.self }]);
  });

  it('dials host:port', async () => {
    const [left, right] = [await kit.join(), await kit.join()];
    const [, , host, , port] = addressOf(right).split('/');
    expect(await left.dial(`${host}:${port}`, signal)).toBe(right.self);
  });

  it('reports one peer when both dial at once', async () => {
    const [left, right] = [await kit.join(), await kit.join()];
    const changes: PeerChange[] = [];
    left.onPeerChange((change) => changes.push(change));
    await Promise.all([left.dial(addressOf(right), signal), right.dial(addressOf(left), signal)]);
    expect(left.peers()).toHaveLength(1);
    expect(right.peers()).toHaveLength(1);
    expect(changes).toEqual([{ kind: 'connected', peer: right.self }]);
  });

  it('carries messages in order, both ways, up to the largest', async () => {
    const { here, there } = await channelPair();
    const sizes = [0, 1, 127, 128, 70_000, maxMessageBytes, 3];
    for (const [at, size] of sizes.entries()) here.send(new Uint8Array(size).fill(at));
    const received: Uint8Array[] = [];
    for await (const message of there.messages()) {
      received.push(message);
      if (received.length === sizes.length) break;
    }
    expect(received.map((message) => message.length)).toEqual(sizes);
    expect(received.every((message, at) => message.every((byte) => byte === at))).toBe(true);
  });

  it('answers on the same channel', async () => {
    const { here, there } = await channelPair();
    here.send(Uint8Array.of(1));
    const question = await there.messages()[Symbol.asyncIterator]().next();
    there.send(Uint8Array.of(question.value?.[0] ?? 0, 2));
    expect((await here.messages()[Symbol.asyncIterator]().next()).value).toEqual(Uint8Array.of(1, 2));
  });

  it('delivers what was sent before a close, then ends and tells both sides', async () => {
    const { here, there } = await channelPair();
    const closed = vi.fn();
    there.onClose(closed);
    for (let index = 0; index < 20; index += 1) here.send(new Uint8Array(10_000).fill(index));
    here.close();
    expect(here.isOpen).toBe(false);
    let count = 0;
    for await (const message of there.messages()) expect(message[0]).toBe(count++);
    expect(count).toBe(20);
    expect(there.isOpen).toBe(false);
    expect(closed).toHaveBeenCalledTimes(1);
    expect(() => there.send(Uint8Array.of(1))).toThrow(expect.objectContaining({ code: 'PEER_CUT' }));
  });

  it('closes instead of growing when the other side does not read', async () => {
    const { here } = await channelPair();
    const closed = new Promise<void>((resolve) => here.onClose(resolve));
    let failure: unknown;
    for (let sent = 0; sent < 400 && failure === undefined; sent += 1) {
      try {
        here.send(new Uint8Array(64 * 1024));
        await new Promise((resolve) => setImmediate(resolve));
      } catch (error) {
        failure = error;
      }
    }
    expect(isCode(failure, 'PEER_OVERFLOW', 'PEER_CUT')).toBe(true);
    await closed;
    expect(here.isOpen).toBe(false);
  });

  it('closes channels when the peer stops and reports it gone', async () => {
    const { left, right, here } = await channelPair();
    const closed = new Promise<void>((resolve) => here.onClose(resolve));
    await right[Symbol.asyncDispose]();
    await closed;
    await lost(left, right);
  });

  it('runs the listener of a channel that is closed already', async () => {
    const { here } = await channelPair();
    here.close();
    await new Promise<void>((resolve) => here.onClose(resolve));
  });

  it('opens a channel to a connected peer from the answering side', async () => {
    const { left, right } = await pair();
    const accepted = Promise.withResolvers<Channel>();
    left.handle('back', accepted.resolve);
    const channel = await right.openChannel(left.self, 'back', signal);
    channel.send(Uint8Array.of(5));
    expect((await (await accepted.promise).messages()[Symbol.asyncIterator]().next()).value).toEqual(Uint8Array.of(5));
  });

  it('refuses a protocol nobody serves, or no longer', async () => {
    const { left, right } = await pair();
    await expect(left.openChannel(right.self, 'none', signal)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    const stop = right.handle('some', () => {});
    (await left.openChannel(right.self, 'some', signal)).close();
    stop();
    await vi.waitFor(
      () => expect(left.openChannel(right.self, 'some', signal)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' }),
      patience,
    );
  });

  it('cuts a banned peer and lets it in neither way', async () => {
    const { left, right } = await pair();
    right.ban(left.self, 3_600_000);
    await lost(left, right);
    expect(right.peers()).toEqual([]);
    await expect(right.dial(addressOf(left), signal)).rejects.toMatchObject({
      code: 'PEER_UNTRUSTED',
      details: { reason: 'banned' },
    });
    const dialled = await left.dial(addressOf(right), signal).catch((error: unknown) => error);
    expect(isCode(dialled, 'PEER_UNTRUSTED', 'PEER_UNREACHABLE')).toBe(true);
    expect(right.peers()).toEqual([]);
  });

  it('takes a banned peer back after its time', async () => {
    const { left, right } = await pair();
    right.ban(left.self, 1);
    await lost(left, right);
    await vi.waitFor(async () => expect(await right.dial(addressOf(left), signal)).toBe(left.self), patience);
  });

  it.each([
    ['another secret', 'one', 'two'],
    ['no secret', undefined, 'two'],
    ['a secret where none is', 'one', undefined],
  ])('refuses a peer with %s', async (_case, ours, theirs) => {
    const [left, right] = [await kit.join(ours), await kit.join(theirs)];
    await expect(left.dial(addressOf(right), signal)).rejects.toMatchObject({ code: 'PEER_UNTRUSTED' });
    expect([...left.peers(), ...right.peers()]).toEqual([]);
  });

  it('connects peers of one fleet', async () => {
    const [left, right] = [await kit.join('one'), await kit.join('one')];
    expect(await left.dial(addressOf(right), signal)).toBe(right.self);
  });

  it('says that nobody is there, that an address is none, and that it is itself', async () => {
    const [left, right] = [await kit.join(), await kit.join()];
    const gone = addressOf(right);
    await right[Symbol.asyncDispose]();
    await expect(left.dial(gone, signal)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    await expect(left.dial('no address', signal)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    const own = addressOf(left).replace(/\/p2p\/.*/, '');
    await expect(left.dial(own, signal)).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
      details: { reason: 'self' },
    });
    expect(left.peers()).toEqual([]);
  });

  it('refuses a peer that is not the one the address names', async () => {
    const [left, right, other] = [await kit.join(), await kit.join(), await kit.join()];
    const address = addressOf(right).replace(right.self, other.self);
    await expect(left.dial(address, signal)).rejects.toMatchObject({ code: 'PEER_UNTRUSTED' });
  });

  it('stops dialling on abort', async () => {
    const [left, right] = [await kit.join(), await kit.join()];
    const controller = new AbortController();
    const dialled = left.dial(addressOf(right), controller.signal);
    controller.abort(new Error('enough'));
    await expect(dialled).rejects.toThrow('enough');
  });
});
