import { fork } from 'node:child_process';
import { noise } from '@chainsafe/libp2p-noise';
import type { Connection } from '@libp2p/interface';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/lib/clock.ts';
import { type Logger, silentLogger } from '../../src/lib/logger.ts';
import { generateIdentity } from '../../src/peer/identity.ts';
import { startLibp2pPeerNetwork } from '../../src/peer/libp2p/libp2p-network.ts';
import { sessionProtocol } from '../../src/peer/libp2p/session.ts';
import { decodeSessionMessage, encodeSessionMessage } from '../../src/peer/libp2p/session-message.ts';
import { encodeFrame, receiveMessages } from '../../src/peer/libp2p/stream-messages.ts';
import { type Metrics, noMetrics } from '../../src/telemetry/metrics.ts';
import { createPrometheusMetrics } from '../../src/telemetry/prometheus-metrics.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { patience } from '../support/patience.ts';
import { libp2pOptions, startTestNetwork } from '../support/peer-networks.ts';

const { signal } = new AbortController();
let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

async function start(overrides: Partial<typeof libp2pOptions> = {}) {
  return stack.use(await startTestNetwork(await generateIdentity(), undefined, overrides));
}

/** A network on a fake clock whose connections can be looked at. */
async function startSpied(clock: FakeClock, metrics: Metrics = noMetrics) {
  const spy = (components: { connectionManager: { getConnections(): Connection[] } }) => ({
    connections: () => components.connectionManager.getConnections(),
  });
  return stack.use(
    await startLibp2pPeerNetwork(
      { identity: await generateIdentity(), clock, logger: silentLogger, metrics },
      { ...libp2pOptions, services: { spy } },
    ),
  );
}

async function forkPeer() {
  const child = fork(new URL('../support/peer-process.ts', import.meta.url), { stdio: 'ignore' });
  stack.defer(() => void child.kill('SIGKILL'));
  const addresses = await new Promise<unknown>((resolve) => child.once('message', resolve));
  return { child, address: String(Array.isArray(addresses) ? addresses[0] : '') };
}

async function startForeign() {
  const node = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
  });
  stack.defer(async () => node.stop());
  return node;
}

it('does not count a libp2p node that says no hello, and drops it', async () => {
  const network = await start({ helloTimeoutMs: 200 });
  const foreign = await startForeign();
  const connection = await foreign.dial(multiaddr(network.addresses()[0] ?? ''));
  await vi.waitFor(() => expect(connection.status).not.toBe('open'), patience);
  expect(network.peers()).toEqual([]);
});

it('refuses another major version and says so in the log', async () => {
  const warnings: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (_fields, message) => warnings.push(message) };
  const network = stack.use(
    await startLibp2pPeerNetwork(
      { identity: await generateIdentity(), clock: systemClock, logger, metrics: noMetrics },
      libp2pOptions,
    ),
  );
  const foreign = await startForeign();
  await foreign.handle(sessionProtocol, (stream) => {
    const options = { maxMessageBytes: 1024, onBytes: () => {} };
    void receiveMessages(stream, options, (bytes) => {
      if (decodeSessionMessage(bytes).kind !== 'hello') return;
      stream.send(encodeFrame(encodeSessionMessage({ kind: 'hello', major: 2, minor: 0, version: '9.9.9' })));
    }).catch(() => {});
  });
  const address = foreign.getMultiaddrs()[0]?.toString() ?? '';
  await expect(network.dial(address, signal)).rejects.toMatchObject({
    code: 'PEER_UNTRUSTED',
    details: { reason: 'version' },
  });
  expect(network.peers()).toEqual([]);
  expect(warnings).toEqual(['refused a peer that speaks another protocol version']);
});

it('cuts a peer that breaks the session protocol', async () => {
  const network = await start();
  const foreign = await startForeign();
  await foreign.handle(sessionProtocol, (stream) => void stream.send(new Uint8Array(1000).fill(0xff)));
  const address = foreign.getMultiaddrs()[0]?.toString() ?? '';
  await expect(network.dial(address, signal)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
});

it('closes the lesser of two connections and keeps the peer and its channel', async () => {
  const clock = new FakeClock();
  const metrics = [createPrometheusMetrics(), createPrometheusMetrics()] as const;
  const [left, right] = [await startSpied(clock, metrics[0]), await startSpied(clock, metrics[1])];
  await Promise.all([left.dial(right.addresses()[0] ?? '', signal), right.dial(left.addresses()[0] ?? '', signal)]);
  // The dialler is a message ahead; a side that knows one connection only would put its channel there and keep both.
  const admitted = async ({ text }: (typeof metrics)[number]) =>
    /^shoal_peer_greetings_total\{outcome="admitted"\} (\d+)$/m.exec(await text())?.[1];
  await vi.waitFor(async () => expect(await Promise.all(metrics.map(admitted))).toEqual(['2', '2']), patience);
  const changes: string[] = [];
  left.onPeerChange((change) => changes.push(change.kind));
  right.handle('talk', () => {});
  const channel = await left.openChannel(right.self, 'talk', signal);
  clock.advance(libp2pOptions.pingIntervalMs);
  await vi.waitFor(() => expect(left.services.spy.connections()).toHaveLength(1), patience);
  await vi.waitFor(() => expect(right.services.spy.connections()).toHaveLength(1), patience);
  expect(channel.isOpen).toBe(true);
  expect(changes).toEqual([]);
});

it('says which port cannot be bound', async () => {
  const first = await start();
  const port = Number(first.addresses()[0]?.split('/')[4]);
  const second = startTestNetwork(await generateIdentity(), undefined, { listen: { host: '127.0.0.1', port } });
  await expect(second).rejects.toMatchObject({ code: 'PEER_LISTEN', details: { port } });
});

it('notices a peer that is frozen, but not one that is only silent', async () => {
  const { child, address } = await forkPeer();
  const clock = new FakeClock();
  const network = await startSpied(clock);
  const peer = await network.dial(address, signal);
  const session = network.services.spy.connections()[0]?.streams.find((stream) => stream.protocol === sessionProtocol);
  // Every second interval without a byte sends a ping; its answer keeps the peer.
  for (let round = 0; round < libp2pOptions.silentIntervals; round += 1) {
    const answered = new Promise((resolve) => session?.addEventListener('message', resolve, { once: true }));
    clock.advance(2 * libp2pOptions.pingIntervalMs);
    await answered;
  }
  expect(network.findPeer(peer)).toBeDefined();
  process.kill(child.pid ?? 0, 'SIGSTOP');
  clock.advance(libp2pOptions.silentIntervals * libp2pOptions.pingIntervalMs);
  expect(network.findPeer(peer)).toBeDefined();
  clock.advance(2 * libp2pOptions.pingIntervalMs);
  expect(network.findPeer(peer)).toBeUndefined();
});

it('says to whom the other side has banned that it was closed, whenever that is noticed', async () => {
  const [network, banned] = [await start(), await start()];
  network.ban(banned.self, 3_600_000);
  for (let round = 0; round < 5; round += 1) {
    await expect(banned.dial(network.addresses()[0] ?? '', signal)).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
      details: { reason: 'closed' },
    });
  }
});

it('does not wait for ever for a peer that takes no channel', async () => {
  const { child, address } = await forkPeer();
  const clock = new FakeClock();
  const network = await startSpied(clock);
  const peer = await network.dial(address, signal);
  process.kill(child.pid ?? 0, 'SIGSTOP');
  const opened = network.openChannel(peer, 'talk', signal);
  const refused = expect(opened).rejects.toMatchObject({ code: 'PEER_STALLED', details: { stage: 'channel' } });
  await clock.advanceAsync(10_000);
  await refused;
  expect(network.findPeer(peer)).toBeDefined();
});

it('reports a killed peer at once', async () => {
  const { child, address } = await forkPeer();
  const network = await start();
  const peer = await network.dial(address, signal);
  const channel = await network.openChannel(peer, 'talk', signal);
  const closed = new Promise<void>((resolve) => channel.onClose(resolve));
  child.kill('SIGKILL');
  await closed;
  await vi.waitFor(() => expect(network.peers()).toEqual([]), patience);
});
