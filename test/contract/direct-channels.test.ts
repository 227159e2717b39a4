import { once } from 'node:events';
import { createServer, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PeerId } from '../../src/content/peer-id.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { isCode } from '../../src/lib/errors.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import type { BulkAddress } from '../../src/peer/bulk.ts';
import type { DirectChannels } from '../../src/peer/direct-channels.ts';
import { generateIdentity, type PeerIdentity } from '../../src/peer/identity.ts';
import { createMemoryDirectChannels } from '../../src/peer/memory/memory-direct-channels.ts';
import { createMemoryNetworkHub } from '../../src/peer/memory/memory-network.ts';
import { type Channel, maxMessageBytes } from '../../src/peer/peer-network.ts';
import { startBulkServer } from '../../src/peer/tls/bulk-server.ts';
import { channelProtocol, createCredentials, tlsOptions } from '../../src/peer/tls/certificate.ts';
import { createTlsChannels } from '../../src/peer/tls/tls-channels.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { bulkServerOptions } from '../support/bulk-options.ts';
import { until } from '../support/swarm-blobs.ts';

const { signal } = new AbortController();
const options = {
  dialTimeoutMs: 15_000,
  closeTimeoutMs: 200,
  maxSendQueueBytes: 1 << 20,
  maxReceiveQueueBytes: 1 << 19,
};

interface Node {
  readonly peer: PeerId;
  readonly address: BulkAddress;
  readonly channels: DirectChannels;
}

interface Kit extends AsyncDisposable {
  join(isMember?: () => boolean): Promise<Node>;
}

async function createMemoryKit(): Promise<Kit> {
  const hub = createMemoryNetworkHub({ maxSendQueueBytes: 1 << 20, maxReceiveQueueBytes: 1 << 20 });
  const joined: { network: ReturnType<typeof hub.join> }[] = [];
  return {
    async join() {
      const { peerId: peer } = await generateIdentity();
      const network = hub.join(peer);
      for (const { network: other } of joined) await network.dial(other.addresses()[0] ?? '', signal);
      joined.push({ network });
      return { peer, address: { host: 'memory', port: 1 }, channels: createMemoryDirectChannels(network) };
    },
    async [Symbol.asyncDispose]() {
      for (const { network } of joined) await network[Symbol.asyncDispose]();
    },
  };
}

async function createTlsKit(): Promise<Kit> {
  const stack = new AsyncDisposableStack();
  return {
    async join(isMember = () => true) {
      const identity = await generateIdentity();
      const channels = stack.use(
        createTlsChannels({ identity, clock: systemClock, metrics: noMetrics, isMember }, options),
      );
      const server = stack.use(await serve(identity, (socket, peer) => channels.accept(socket, peer)));
      return { peer: identity.peerId, address: server.address, channels };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function serve(identity: PeerIdentity, take: (socket: TLSSocket, peer: PeerId) => void) {
  const source = { openPieces: () => Promise.reject(new Error('no pieces here')) };
  const deps = { identity, clock: systemClock, logger: silentLogger, metrics: noMetrics, source, isMember: () => true };
  return startBulkServer({ ...deps, protocols: new Map([[channelProtocol, take]]) }, bulkServerOptions);
}

async function pairOf(left: Node, right: Node): Promise<{ here: Channel; there: Channel }> {
  const accepted = Promise.withResolvers<Channel>();
  right.channels.handle(accepted.resolve);
  const here = await left.channels.open(right.peer, right.address, signal);
  return { here, there: await accepted.promise };
}

async function take(channel: Channel, count: number): Promise<Uint8Array[]> {
  const messages: Uint8Array[] = [];
  for await (const message of channel.messages()) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages;
}

describe.each([
  ['memory', createMemoryKit],
  ['tls', createTlsKit],
])('DirectChannels on %s', (_name, createKit) => {
  let kit: Kit;
  beforeEach(async () => {
    kit = await createKit();
  });
  afterEach(() => kit[Symbol.asyncDispose]());

  it('carry messages in order, both ways, up to the largest', async () => {
    const [left, right] = [await kit.join(), await kit.join()];
    const { here, there } = await pairOf(left, right);
    expect([here.peer, there.peer]).toEqual([right.peer, left.peer]);
    const sizes = [1, 127, 128, 16_383, 16_384, 70_000, maxMessageBytes, 3];
    for (const [at, size] of sizes.entries()) here.send(new Uint8Array(size).fill(at));
    const received = await take(there, sizes.length);
    expect(received.map(({ length }) => length)).toEqual(sizes);
    expect(received.every((message, at) => message.every((byte) => byte === at))).toBe(true);
    const back = await pairOf(left, right);
    back.there.send(Buffer.from('back'));
    expect(Buffer.from((await take(back.here, 1))[0]!).toString()).toBe('back');
  });

  it('may have the message’s memory used again at once', async () => {
    const { here, there } = await pairOf(await kit.join(), await kit.join());
    const message = Buffer.from('first');
    here.send(message);
    message.fill('x');
    expect(Buffer.from((await take(there, 1))[0]!).toString()).toBe('first');
  });

  it('end on both sides when one closes, and take nothing more', async () => {
    const { here, there } = await pairOf(await kit.join(), await kit.join());
    let closed = 0;
    for (const channel of [here, there]) channel.onClose(() => (closed += 1));
    here.close();
    await until(() => closed === 2, 'both are closed');
    expect([here.isOpen, there.isOpen]).toEqual([false, false]);
    expect(() => there.send(Buffer.from('late'))).toThrow(expect.objectContaining({ code: 'PEER_CUT' }));
    const late = Promise.withResolvers<void>();
    there.onClose(late.resolve);
    await late.promise;
    for await (const _ of there.messages()) expect.unreachable();
  });

  it('refuse a message over the bound without harm', async () => {
    const { here, there } = await pairOf(await kit.join(), await kit.join());
    expect(() => here.send(new Uint8Array(maxMessageBytes + 1))).toThrow(RangeError);
    here.send(Buffer.from('fine'));
    expect(await take(there, 1)).toHaveLength(1);
  });

  it('close when the other end takes nothing, instead of growing', async () => {
    const { here } = await pairOf(await kit.join(), await kit.join());
    const flood = () => {
      // Kernel buffers of loopback take some MiB; far more than they and both bounds together.
      for (let sent = 0; sent < 1_024; sent += 1) here.send(new Uint8Array(maxMessageBytes));
    };
    expect(flood).toThrow(expect.objectContaining({ code: 'PEER_OVERFLOW' }));
    expect(here.isOpen).toBe(false);
  });

  it('are closed at once where nobody takes them', async () => {
    const [left, right] = [await kit.join(), await kit.join()];
    const stop = right.channels.handle(() => expect.unreachable());
    stop();
    const channel = await left.channels.open(right.peer, right.address, signal).catch((error: unknown) => error);
    if (channel instanceof Error) expect(isCode(channel, 'PEER_UNREACHABLE')).toBe(true);
    else await until(() => !(channel as Channel).isOpen, 'it is closed');
  });

  it('are not opened once the caller has left', async () => {
    const [left, right] = [await kit.join(), await kit.join()];
    right.channels.handle(() => {});
    await expect(left.channels.open(right.peer, right.address, AbortSignal.abort(new Error('left')))).rejects.toThrow(
      'left',
    );
  });
});

describe('DirectChannels on tls', () => {
  let kit: Kit;
  beforeEach(async () => {
    kit = await createTlsKit();
  });
  afterEach(() => kit[Symbol.asyncDispose]());

  it('take nobody without a session', async () => {
    const [left, right] = [await kit.join(), await kit.join(() => false)];
    right.channels.handle(() => expect.unreachable());
    const channel = await left.channels.open(right.peer, right.address, signal);
    await until(() => !channel.isOpen, 'it is closed');
  });

  it('know a node that is not the one that was meant', async () => {
    const [left, right, other] = [await kit.join(), await kit.join(), await kit.join()];
    await expect(left.channels.open(other.peer, right.address, signal)).rejects.toMatchObject({
      code: 'PEER_UNTRUSTED',
    });
    const nowhere = { ...right.address, port: 1 };
    await expect(left.channels.open(right.peer, nowhere, signal)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });

  it.each([
    ['a length that never ends', Buffer.from('ffffffff', 'hex')],
    ['a length over the bound', Buffer.from('818008', 'hex')],
    ['nothing, said with a length', Buffer.from('00', 'hex')],
  ])('close at %s', async (_, bytes) => {
    const identity = await generateIdentity();
    const server = createServer({
      ...(await createCredentials(identity, systemClock)),
      ...tlsOptions,
      ALPNProtocols: [channelProtocol],
    });
    const connected = once(server, 'secureConnection') as Promise<[TLSSocket]>;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const left = await kit.join();
    const channel = await left.channels.open(identity.peerId, { host: '127.0.0.1', port }, signal);
    const [socket] = await connected;
    socket.on('error', () => {});
    socket.write(bytes);
    await until(() => !channel.isOpen, 'it is closed');
    socket.destroy();
    server.close();
    await once(server, 'close');
  });
});
