import { connect as connectTcp, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { PeerId } from '../../src/content/peer-id.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { generateIdentity, type PeerIdentity } from '../../src/peer/identity.ts';
import { formatTarget } from '../../src/peer/tls/bulk-request.ts';
import { type BulkServer, type BulkServerDeps, startBulkServer } from '../../src/peer/tls/bulk-server.ts';
import { bulkProtocol, createCredentials } from '../../src/peer/tls/certificate.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import { bulkServerOptions } from '../support/bulk-options.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MemoryPieceSource, makeBlob, type TestBlob } from '../support/memory-piece-source.ts';
import { patience } from '../support/patience.ts';

const never = () => new Promise<never>(() => {});
const otherProtocol = 'shoal-other/1';

let identity: PeerIdentity;
let member: PeerIdentity;
let stranger: PeerIdentity;
let blob: TestBlob;
let source: MemoryPieceSource;
let members: Set<PeerId>;
let stack: AsyncDisposableStack;
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  identity ??= await generateIdentity();
  member ??= await generateIdentity();
  stranger ??= await generateIdentity();
  blob ??= makeBlob(identity, 1024 * 1024, 3);
  source = new MemoryPieceSource();
  source.add(blob);
  members = new Set([member.peerId]);
});
afterEach(() => stack.disposeAsync());

async function start(changes: Partial<typeof bulkServerOptions> = {}, extra: Partial<BulkServerDeps> = {}) {
  const deps = { clock: systemClock, logger: silentLogger, metrics: noMetrics, identity, source };
  const isMember = (peer: PeerId) => members.has(peer);
  const options = { ...bulkServerOptions, ...changes };
  return stack.use(await startBulkServer({ ...deps, isMember, ...extra }, options));
}

/** What a test sees of a socket: what came, and whether it was closed. */
function watch<Kind extends Socket>(socket: Kind) {
  stack.defer(() => void socket.destroy());
  const seen = { socket, text: '', isClosed: false };
  socket.on('error', () => {});
  socket.on('data', (bytes: Buffer) => {
    seen.text += bytes.toString('latin1');
  });
  socket.on('close', () => {
    seen.isClosed = true;
  });
  return seen;
}

async function open(server: BulkServer, who: PeerIdentity, protocol = bulkProtocol) {
  const credentials = await createCredentials(who, systemClock);
  const options = { ...server.address, ...credentials, rejectUnauthorized: false, ALPNProtocols: [protocol] };
  const seen = watch(connect(options));
  await new Promise<void>((resolve) => {
    seen.socket.once('secureConnect', resolve);
    seen.socket.once('close', resolve);
  });
  return seen;
}

/** Connects and never begins the handshake. */
async function openSilent(server: BulkServer, localAddress = '127.0.0.1') {
  const seen = watch(connectTcp({ ...server.address, localAddress }));
  await new Promise<void>((resolve) => seen.socket.once('connect', resolve));
  return seen;
}

const get = () =>
  `GET ${formatTarget({ digest: blob.key.digest, first: 0, count: 1 })} HTTP/1.1\r\nHost: shoal\r\n\r\n`;
const until = (check: () => void) => vi.waitFor(check, patience);

/** Asks for a piece and waits for it, so that the server is known to have the connection. */
async function ask(client: Awaited<ReturnType<typeof open>>): Promise<void> {
  client.text = '';
  client.socket.write(get());
  await until(() => expect(client.text.length).toBeGreaterThan(65_536));
}

describe('a connection of a peer that is no member', () => {
  it('ends after a short grace, and that of a member does not', async () => {
    const clock = new FakeClock(Date.now());
    const take = vi.fn();
    const server = await start({}, { clock, protocols: new Map([[otherProtocol, take]]) });
    const [ours, theirs] = [await open(server, member), await open(server, stranger)];
    const theirChannel = await open(server, stranger, otherProtocol);
    await ask(ours);
    theirs.socket.write('GET');
    await until(() => expect(take).toHaveBeenCalledTimes(1));
    clock.advance(bulkServerOptions.admissionGraceMs);
    await until(() => expect([theirs.isClosed, theirChannel.isClosed]).toEqual([true, true]));
    await ask(ours);
  });

  it('stays when the peer is admitted within the grace', async () => {
    const clock = new FakeClock(Date.now());
    const take = vi.fn();
    const server = await start({}, { clock, protocols: new Map([[otherProtocol, take]]) });
    const early = await open(server, stranger);
    await open(server, stranger, otherProtocol);
    await until(() => expect(take).toHaveBeenCalledTimes(1));
    members.add(stranger.peerId);
    clock.advance(bulkServerOptions.admissionGraceMs);
    await ask(early);
  });

  it('takes no room of a member, and neither does one that never finishes the handshake', async () => {
    const server = await start({ maxConnections: 8, maxUnproved: 4, maxConnectionsPerPeer: 3 });
    const ours = [await open(server, member), await open(server, member)];
    for (const client of ours) await ask(client);
    const theirs: { isClosed: boolean }[] = [];
    for (let i = 0; i < 4; i += 1) theirs.push(await open(server, stranger));
    for (let i = 0; i < 4; i += 1) theirs.push(await openSilent(server));
    const late = await open(server, member);
    for (const client of [...ours, late]) await ask(client);
    await until(() => expect(theirs.filter((one) => !one.isClosed).length).toBeLessThanOrEqual(4));
  });

  it('is refused beyond the bound for its host', async () => {
    const server = await start({ maxUnprovedPerHost: 2 });
    const kept = [await openSilent(server), await openSilent(server)];
    const refused = await openSilent(server);
    await until(() => expect(refused.isClosed).toBe(true));
    const elsewhere = await openSilent(server, '127.0.0.2');
    expect([...kept, elsewhere].some((one) => one.isClosed)).toBe(false);
    kept[0]?.socket.destroy();
    await until(async () => expect((await open(server, member)).isClosed).toBe(false));
  });
});

describe('connections of one member', () => {
  it('are bounded: the oldest one that is not in use goes', async () => {
    const server = await start({ maxConnectionsPerPeer: 3 });
    const [first, second, third] = [await open(server, member), await open(server, member), await open(server, member)];
    for (const client of [first, second, third]) await ask(client);
    source.read = never;
    first.socket.write(get());
    await until(() => expect(source.openRuns).toBe(1));
    await open(server, member);
    await until(() => expect(second.isClosed).toBe(true));
    expect([first.isClosed, third.isClosed]).toEqual([false, false]);
  });

  it('are refused when all are in use, those of other protocols included', async () => {
    const take = vi.fn();
    const server = await start({ maxConnectionsPerPeer: 2 }, { protocols: new Map([[otherProtocol, take]]) });
    const channel = await open(server, member, otherProtocol);
    await until(() => expect(take).toHaveBeenCalledTimes(1));
    source.read = never;
    const busy = await open(server, member);
    busy.socket.write(get());
    await until(() => expect(source.openRuns).toBe(1));
    const refused = await open(server, member);
    await until(() => expect(refused.isClosed).toBe(true));
    expect([channel.isClosed, busy.isClosed]).toEqual([false, false]);
    channel.socket.destroy();
    await until(() => expect(take.mock.calls[0]?.[0].closed).toBe(true));
    const next = await open(server, member);
    next.socket.write(get());
    await until(() => expect(source.openRuns).toBe(2));
  });
});
