import { beforeEach, describe, expect, it } from 'vitest';
import { Bitfield } from '../../../src/content/bitfield.ts';
import type { PeerId } from '../../../src/content/peer-id.ts';
import { seededRandom, systemClock } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { TaskGroup } from '../../../src/lib/task-group.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { generateIdentity } from '../../../src/peer/identity.ts';
import { createMemoryDirectChannels } from '../../../src/peer/memory/memory-direct-channels.ts';
import { createMemoryNetworkHub, type MemoryPeerNetwork } from '../../../src/peer/memory/memory-network.ts';
import type { Channel } from '../../../src/peer/peer-network.ts';
import { createMemoryStore } from '../../../src/store/memory/memory-store.ts';
import { BanList } from '../../../src/swarm/bans.ts';
import type { BlobDownload } from '../../../src/swarm/blob-download.ts';
import { MemberLinks } from '../../../src/swarm/member-links.ts';
import { MemberTalk } from '../../../src/swarm/member-talk.ts';
import { decodeFrame, encodeFrame, type SwarmMessage, swarmProtocol } from '../../../src/swarm/messages.ts';
import { markOf } from '../../../src/swarm/piece-mark.ts';
import { Scheduler } from '../../../src/swarm/schedule/scheduler.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { makeBlob } from '../../support/memory-piece-source.ts';
import { MiB, until } from '../../support/swarm-blobs.ts';
import { openTestDownload } from '../../support/swarm-parts.ts';
import { alice, bob, carol, digest, options } from './schedule-fixtures.ts';

const leave = { kind: 'leave', digest } as const;

describe('the links of a node', () => {
  let hub: ReturnType<typeof createMemoryNetworkHub>;
  let tasks: TaskGroup;
  beforeEach(() => {
    hub = createMemoryNetworkHub({ maxSendQueueBytes: 1 << 20, maxReceiveQueueBytes: 1 << 20 });
    tasks = new TaskGroup(() => {});
  });

  function start(peer: PeerId, bulkPort: number, bulkHost?: string) {
    const network = hub.join(peer);
    const events: string[] = [];
    const links = new MemberLinks(
      { clock: systemClock, network, direct: createMemoryDirectChannels(network), logger: silentLogger, tasks },
      { bulkPort, bulkHost, zone: `zone-${peer}` },
      {
        ready: (other, zone) => events.push(`ready ${other} ${zone}`),
        message: (other, message) => events.push(`${message.kind} ${other}`),
        gone: (other) => events.push(`gone ${other}`),
      },
    );
    network.handle(swarmProtocol, (channel) => links.accept(channel));
    const direct = createMemoryDirectChannels(network);
    direct.handle((channel) => links.acceptDirect(channel));
    return { network, events, links };
  }
  const connect = (one: { network: MemoryPeerNetwork }, other: { network: MemoryPeerNetwork }) =>
    one.network.dial(other.network.addresses()[0]!, AbortSignal.timeout(15_000));

  /** The other end of a link, by hand. */
  function startRaw(peer: PeerId) {
    const network = hub.join(peer);
    const frames: SwarmMessage[][] = [];
    const channels: Channel[] = [];
    network.handle(swarmProtocol, (channel) => {
      channels.push(channel);
      tasks.run(async () => {
        for await (const frame of channel.messages()) frames.push(decodeFrame(frame));
      });
    });
    return { network, frames, channels };
  }

  it('say hello both ways and learn where the other’s bulk plane is', async () => {
    const [one, other] = [start(alice, 11, 'mapped.lan'), start(bob, 22)];
    await connect(one, other);
    one.links.send(bob, leave);
    await until(() => other.events.includes('leave alice') && one.events.length > 0, 'both said hello');
    expect(one.events).toEqual(['ready bob zone-bob']);
    expect(other.events).toEqual(['ready alice zone-alice', 'leave alice']);
    expect(one.links.findAddress(bob)).toEqual({ host: one.network.findPeer(bob)!.host, port: 22 });
    expect(other.links.findAddress(alice)).toEqual({ host: 'mapped.lan', port: 11 });
    expect([one.links.findZone(bob), one.links.findZone(carol)]).toEqual(['zone-bob', undefined]);
    await tasks.stop();
  });

  it('send what one turn of the event loop has to say in one frame, much of it in few', async () => {
    const one = start(alice, 11);
    const raw = startRaw(bob);
    await connect(one, raw);
    for (let at = 0; at < 300; at += 1) one.links.send(bob, leave);
    await until(() => raw.frames.flat().length === 301, 'all arrived');
    expect(raw.frames.map((frame) => frame.length)).toEqual([1, 256, 44]);
    one.links.send(bob, leave);
    one.links.send(bob, leave);
    await until(() => raw.frames.length === 4, 'two more arrived');
    expect(raw.frames[3]).toHaveLength(2);
    await tasks.stop();
  });

  it('work when both sides open at the same moment', async () => {
    const [one, other] = [start(alice, 11), start(bob, 22)];
    await connect(one, other);
    one.links.send(bob, leave);
    other.links.send(alice, leave);
    await until(() => one.events.includes('leave bob') && other.events.includes('leave alice'), 'both heard');
    expect([...one.events, ...other.events].filter((event) => event.startsWith('gone'))).toEqual([]);
    await tasks.stop();
  });

  it.each([
    ['the channel closes', (raw: ReturnType<typeof startRaw>) => raw.channels[0]!.close()],
    ['the other talks nonsense', (raw: ReturnType<typeof startRaw>) => raw.channels[0]!.send(Buffer.from('ff', 'hex'))],
  ])('are gone when %s, and open anew with the next message', async (_, breakIt) => {
    const one = start(alice, 11);
    const raw = startRaw(bob);
    await connect(one, raw);
    one.links.send(bob, leave);
    await until(() => raw.frames.flat().length === 2, 'the link is open');
    breakIt(raw);
    await until(() => one.events.includes('gone bob'), 'the link is gone');
    expect(one.links.findAddress(bob)).toBeUndefined();
    one.links.send(bob, leave);
    await until(() => raw.channels.length === 2 && raw.frames.flat().length === 4, 'a new link is open');
    await tasks.stop();
  });

  /** The other end of a link and of its direct channel, by hand. */
  async function direct() {
    const one = start(alice, 11);
    const raw = startRaw(bob);
    const before = Promise.withResolvers<Channel>();
    const after = Promise.withResolvers<Channel>();
    const frames: SwarmMessage[][] = [];
    createMemoryDirectChannels(raw.network).handle((channel) => {
      tasks.run(async () => {
        for await (const frame of channel.messages()) frames.push(decodeFrame(frame));
      });
      after.resolve(channel);
    });
    await connect(one, raw);
    one.links.send(bob, leave);
    await until(() => raw.frames.flat().length === 2, 'the link is open');
    before.resolve(raw.channels[0]!);
    return { one, raw, frames, first: await before.promise, after: after.promise };
  }
  const open = (network: MemoryPeerNetwork, peer: PeerId) =>
    createMemoryDirectChannels(network).open(peer, { host: '', port: 0 }, AbortSignal.timeout(15_000));
  const hello = encodeFrame([{ kind: 'hello', bulkPort: 5, zone: '' }]);
  const moved = encodeFrame([{ kind: 'moved' }]);

  it('move to a direct channel when the other end has taken it, each saying so last', async () => {
    const { one, raw, frames, first, after } = await direct();
    expect(alice < bob).toBe(true);
    first.send(hello);
    const channel = await after;
    one.links.send(bob, leave);
    await until(() => raw.frames.flat().length === 3, 'until then the first one serves');
    // What overtakes on the direct channel waits for the last word on the first.
    channel.send(encodeFrame([{ kind: 'whole', digest }]));
    first.send(encodeFrame([leave]));
    one.links.send(bob, leave);
    first.send(moved);
    await until(() => one.events.includes('whole bob'), 'both came');
    expect(one.events.slice(-2)).toEqual(['leave bob', 'whole bob']);
    await until(() => raw.frames.flat().at(-1)?.kind === 'moved', 'the last word came');
    expect(raw.frames.flat().map(({ kind }) => kind)).toEqual(['hello', 'leave', 'leave', 'leave', 'moved']);
    one.links.send(bob, leave);
    await until(() => frames.length === 1, 'it came on the direct channel');
    await tasks.stop();
  });

  it('say that they have moved when they take a direct channel', async () => {
    const one = start(bob, 11);
    const raw = startRaw(alice);
    await connect(one, raw);
    one.links.send(alice, leave);
    await until(() => raw.frames.flat().length === 2, 'the link is open');
    raw.channels[0]!.send(hello);
    const channel = await open(raw.network, bob);
    await until(() => raw.frames.flat().at(-1)?.kind === 'moved', 'it is taken');
    const frames: SwarmMessage[][] = [];
    tasks.run(async () => {
      for await (const frame of channel.messages()) frames.push(decodeFrame(frame));
    });
    one.links.send(alice, leave);
    await until(() => frames.length === 1, 'it is used');
    raw.channels[0]!.send(moved);
    channel.send(encodeFrame([leave]));
    await until(() => one.events.includes('leave alice'), 'it is read');
    await tasks.stop();
  });

  it('go on with the first channel when the direct one ends before the other end has moved', async () => {
    const { one, raw, first, after } = await direct();
    first.send(hello);
    (await after).close();
    one.links.send(bob, leave);
    await until(() => raw.frames.flat().length === 3, 'it came on the first channel');
    expect(one.events.filter((event) => event.startsWith('gone'))).toEqual([]);
    await tasks.stop();
  });

  it.each([
    ['direct', (_: Channel, second: Channel) => second.close()],
    ['first', (first: Channel) => first.close()],
  ])('are gone when the %s channel is, once they have moved', async (_, breakIt) => {
    const { one, raw, first, after } = await direct();
    first.send(hello);
    const channel = await after;
    first.send(moved);
    await until(() => raw.frames.flat().at(-1)?.kind === 'moved', 'it is used');
    breakIt(first, channel);
    await until(() => one.events.includes('gone bob'), 'the link is gone');
    await until(() => !first.isOpen && !channel.isOpen, 'both channels are closed');
    await tasks.stop();
  });

  it('begin anew when the other end opens a second direct channel, and take none without a link', async () => {
    const one = start(bob, 11);
    const raw = startRaw(alice);
    await connect(one, raw);
    one.links.send(alice, leave);
    await until(() => raw.frames.flat().length === 2, 'the link is open');
    const channel = await open(raw.network, bob);
    await until(() => raw.frames.flat().at(-1)?.kind === 'moved', 'it is taken');
    const again = await open(raw.network, bob);
    await until(() => one.events.includes('gone alice'), 'the link is gone');
    await until(() => !channel.isOpen && !again.isOpen && !raw.channels[0]!.isOpen, 'all is closed');
    const stranger = hub.join(carol);
    await stranger.dial(one.network.addresses()[0]!, AbortSignal.timeout(15_000));
    const refused = await open(stranger, bob);
    await until(() => !refused.isOpen, 'there is no link to it');
    await tasks.stop();
  });

  it('close every channel of a link that is dropped, and hear no more of them', async () => {
    const one = start(alice, 11);
    const raw = startRaw(bob);
    await connect(one, raw);
    one.links.send(bob, leave);
    await until(() => raw.frames.flat().length === 2, 'the link is open');
    const second = await raw.network.openChannel(alice, swarmProtocol, AbortSignal.timeout(15_000));
    second.send(encodeFrame([leave]));
    await until(() => one.events.includes('leave bob'), 'both are read');
    one.links.drop(bob);
    await until(() => !second.isOpen && !raw.channels[0]!.isOpen, 'both are closed');
    await tasks.stop();
  });

  it('go on without a direct channel where none can be had', async () => {
    const one = start(alice, 11);
    const raw = startRaw(bob);
    await connect(one, raw);
    one.links.send(bob, leave);
    await until(() => raw.frames.flat().length === 2, 'the link is open');
    raw.channels[0]!.send(hello);
    await until(() => one.events.includes('ready bob '), 'the hello came');
    one.links.send(bob, leave);
    await until(() => raw.frames.flat().length === 3, 'it came on the first channel');
    await tasks.stop();
  });

  it('are there before anything is said, opened by the lesser of the two alone', async () => {
    const [one, other] = [start(alice, 1), start(bob, 2)];
    await connect(one, other);
    const [lesser, greater] = alice < bob ? [one, other] : [other, one];
    greater.links.prepare(lesser.network.self);
    expect(greater.links.findAddress(lesser.network.self)).toBeUndefined();
    lesser.links.prepare(greater.network.self);
    lesser.links.prepare(greater.network.self);
    await until(() => one.events.length > 0 && other.events.length > 0, 'both ends are ready');
    expect([one.events, other.events]).toEqual([[`ready ${bob} zone-${bob}`], [`ready ${alice} zone-${alice}`]]);
    expect(other.links.findAddress(alice)?.port).toBe(1);
  });

  it('give up on a peer that cannot be reached, and on one that takes nothing', async () => {
    const one = start(alice, 11);
    one.links.send(bob, leave);
    await until(() => one.events.includes('gone bob'), 'nobody is there');
    const raw = startRaw(carol);
    await connect(one, raw);
    hub.pauseLink(alice, carol);
    for (let at = 0; at < 8_193; at += 1) one.links.send(carol, leave);
    expect(one.events).toContain('gone carol');
    one.links.drop(carol);
    await tasks.stop();
  });

  it('close with the node', async () => {
    const [one, other] = [start(alice, 11), start(bob, 22)];
    await connect(one, other);
    one.links.send(bob, leave);
    await until(() => other.events.includes('leave alice'), 'the link is open');
    one.links.close();
    await until(() => other.events.includes('gone alice'), 'the other sees it');
    await tasks.stop();
  });
});

describe('the talk of a node', () => {
  async function setUp() {
    const identity = await generateIdentity();
    const kit = await openTestDownload(identity, 2 * MiB);
    const clock = new FakeClock();
    const scheduler = new Scheduler({ self: identity.peerId, clock, random: seededRandom(1) }, options);
    const downloads = new Map<Digest, BlobDownload>([[kit.digest, kit.download]]);
    scheduler.addDownload({
      digest: kit.digest,
      sizeBytes: kit.sizeBytes,
      originDelayMs: 0,
      canAskOrigin: true,
      held: [],
    });
    const sent: { peer: PeerId; message: SwarmMessage }[] = [];
    const bans = new BanList(clock, { banMs: 60_000 });
    const store = createMemoryStore({ clock });
    const tasks = new TaskGroup(() => {});
    const connected = new Set<PeerId>();
    const isConnected = (peer: PeerId) => connected.has(peer);
    const marks: number[] = [];
    const given: string[] = [];
    const backedUp = new Set<PeerId>();
    const met: PeerId[] = [];
    const onMark = (_: PeerId, __: Digest, piece: number) => void marks.push(piece);
    const onSigned = (peer: PeerId) => void sent.push({ peer, message: { kind: 'whole', digest: kit.digest } });
    const talk = new MemberTalk(
      {
        self: identity.peerId,
        blobs: store.blobs,
        scheduler,
        bans,
        tasks,
        downloads,
        clock,
        isConnected,
        onSigned,
        onMark,
        onPiece: (peer, _, { index }, bytes) => void given.push(`${peer} ${index} ${bytes.length}`),
        onMeet: (peer) => void met.push(peer),
        onGiven: (peer, bytes) => void given.push(`to ${peer} ${bytes}`),
        mayGive: true,
      },
      { send: (peer, message) => void sent.push({ peer, message }), hasRoom: (peer) => !backedUp.has(peer) },
    );
    const state = (changes: Partial<SwarmMessage & { kind: 'state' }> = {}) => ({
      kind: 'state' as const,
      digest: kit.digest,
      sizeBytes: kit.sizeBytes,
      pieces: new Uint8Array(1),
      isFetching: true,
      canAskOrigin: true,
      wantsReply: false,
      ...changes,
    });
    const take = () => sent.splice(0).map(({ peer, message }) => `${message.kind} ${peer}`);
    const members = () => [...(scheduler.downloads.get(kit.digest)?.members.keys() ?? [])];
    const provider = (peer: PeerId) => ({ peer, holding: 'fetching' as const, rank: 0 });
    const parts = { marks, given, met, backedUp, scheduler, talk, bans, store, tasks, clock, connected, downloads };
    return { ...kit, ...parts, identity, sent, state, take, members, provider };
  }

  it('tells when the last one greeted is heard out, gone, or of no matter any more', async () => {
    const { talk, digest: blob, provider, state } = await setUp();
    let told = 0;
    const stop = talk.onHeardOut(() => (told += 1));
    const greet = (...peers: PeerId[]) => {
      for (const peer of peers) talk.greet(blob, peer);
    };
    talk.meet(blob, provider(alice));
    greet(bob);
    talk.receive(alice, state());
    talk.receive(alice, state());
    expect(told).toBe(0);
    talk.receive(bob, { kind: 'leave', digest: blob });
    expect(told).toBe(1);
    greet(alice);
    talk.peerGone(alice);
    expect(told).toBe(2);
    talk.forget(blob);
    expect(told).toBe(2);
    greet(alice);
    talk.forget(blob);
    expect(told).toBe(3);
    stop();
    greet(alice);
    talk.forget(blob);
    expect(told).toBe(3);
  });

  it('greets a provider once, again when it comes back, and not itself nor a banned one', async () => {
    const { talk, digest: blob, provider, take, bans, identity, met } = await setUp();
    bans.add(carol, 'signed wrong piece', '');
    for (const peer of [alice, alice, carol, identity.peerId]) talk.meet(blob, provider(peer));
    expect([take(), met]).toEqual([['state alice'], [alice]]);
    expect(talk.isHeardOut(blob)).toBe(false);
    talk.peerGone(alice);
    expect(talk.isHeardOut(blob)).toBe(true);
    talk.peerBack(alice);
    expect(take()).toEqual(['state alice']);
    talk.forget(blob);
    talk.peerBack(alice);
    expect(take()).toEqual([]);
  });

  it('greets a provider again that lost its link and stayed connected, once a while', async () => {
    const { talk, digest: blob, provider, take, clock, connected, bans, tasks } = await setUp();
    connected.add(alice).add(bob).add(carol);
    for (const peer of [alice, bob, carol]) talk.meet(blob, provider(peer));
    take();
    for (const peer of [alice, alice, bob, carol]) talk.peerGone(peer);
    connected.delete(bob);
    bans.add(carol, 'signed wrong piece', '');
    await clock.advanceAsync(999);
    expect(take()).toEqual([]);
    await clock.advanceAsync(1);
    expect(take()).toEqual(['state alice']);
    talk.peerGone(alice);
    talk.forget(blob);
    await clock.advanceAsync(1_000);
    expect(take()).toEqual([]);
    talk.peerGone(alice);
    await tasks.stop();
  });

  it('answers a greeting with what it holds and claims', async () => {
    const { talk, scheduler, state, take, sent, members } = await setUp();
    scheduler.decide();
    talk.receive(alice, state({ wantsReply: true }));
    expect(sent[0]).toMatchObject({ peer: alice, message: { kind: 'state', isFetching: true, wantsReply: false } });
    expect(take().slice(1)).toEqual(['claim alice', 'claim alice']);
    expect(members()).toEqual([alice]);
  });

  it('does not answer a greeting that crossed its own with the same, unless something has changed or it was long ago', async () => {
    const { talk, scheduler, digest: blob, provider, state, take, clock, storePiece } = await setUp();
    const greeting = state({ wantsReply: true });
    talk.meet(blob, provider(alice));
    take();
    talk.receive(alice, greeting);
    expect(take()).toEqual([]);
    // Who cannot ask the origin leaves every turn to this node.
    talk.receive(alice, state({ canAskOrigin: false }));
    scheduler.decide();
    talk.receive(alice, greeting);
    expect(take()).toEqual(['state alice', 'claim alice', 'claim alice']);
    talk.receive(alice, greeting);
    expect(take()).toEqual([]);
    await storePiece(1);
    talk.receive(alice, greeting);
    expect(take()[0]).toBe('state alice');
    for (const lose of [
      () => clock.advance(2_000),
      () => talk.peerGone(alice),
      () => talk.receive(alice, { kind: 'leave', digest: blob }),
    ]) {
      lose();
      talk.receive(alice, greeting);
      expect(take()[0]).toBe('state alice');
    }
  });

  it('greets who greeted while it was not fetching yet, once it does', async () => {
    const { talk, scheduler, digest: blob, sizeBytes, state, sent, take, members, store, tasks } = await setUp();
    scheduler.removeDownload(blob);
    talk.receive(alice, state({ wantsReply: true }));
    await until(() => sent.length === 1, 'it answers');
    expect(take()).toEqual(['leave alice']);
    const looked = Promise.withResolvers<undefined>();
    Object.assign(store.blobs, { findBlob: () => looked.promise });
    talk.receive(alice, state({ wantsReply: true }));
    scheduler.addDownload({ digest: blob, sizeBytes, originDelayMs: 0, canAskOrigin: true, held: [] });
    looked.resolve(undefined);
    await until(() => sent.length === 1, 'it greets');
    expect(sent[0]).toMatchObject({ peer: alice, message: { kind: 'state', wantsReply: true } });
    talk.receive(alice, state());
    expect(members()).toEqual([alice]);
    await tasks.stop();
  });

  it('says what it claims with a greeting too, since who is heard is not waited for any more', async () => {
    const { talk, scheduler, digest: blob, provider, take } = await setUp();
    scheduler.decide();
    talk.meet(blob, provider(alice));
    expect(take()).toEqual(['state alice', 'claim alice', 'claim alice']);
  });

  it.each([
    ['names another size', { sizeBytes: 5 }],
    ['has a bitfield of another length', { pieces: new Uint8Array(9) }],
  ])('makes nobody a member whose state %s', async (_, changes) => {
    const { talk, state, members, take } = await setUp();
    talk.receive(alice, state({ ...changes, wantsReply: true }));
    expect([members(), take()]).toEqual([[], []]);
  });

  it('hears nothing from a banned peer', async () => {
    const { talk, state, members, bans } = await setUp();
    bans.add(alice, 'signed wrong piece', '');
    talk.receive(alice, state({ pieces: undefined }));
    expect(members()).toEqual([]);
  });

  it('takes a shunned peer for a member that holds nothing', async () => {
    const { talk, state, members, bans, scheduler, digest: blob, take } = await setUp();
    bans.add(alice, 'stalls', '');
    talk.receive(alice, state({ pieces: undefined, wantsReply: true }));
    expect([members(), take()]).toEqual([['alice'], ['state alice']]);
    expect(scheduler.downloads.get(blob)!.availability[0]).toBe(0);
  });

  it('tells the scheduler of pieces, claims, releases, leaves and whole origins', async () => {
    const { talk, digest: blob, state, scheduler, members, marks } = await setUp();
    talk.receive(alice, state());
    talk.receive(alice, { kind: 'have', digest: blob, pieces: [3, 4_000], marks: new Uint8Array(20) });
    expect(marks).toEqual([3]);
    talk.receive(alice, { kind: 'claim', digest: blob, extent: 1, receivedBytes: 5 });
    const download = scheduler.downloads.get(blob)!;
    expect([download.availability[3], download.extents[1]!.claims.size]).toEqual([1, 1]);
    talk.receive(alice, { kind: 'release', digest: blob, extent: 1 });
    expect(download.extents[1]!.claims.size).toBe(0);
    talk.receive(alice, { kind: 'whole', digest: blob });
    expect(download.isOriginWhole).toBe(true);
    talk.receive(alice, { kind: 'leave', digest: blob });
    expect(members()).toEqual([]);
  });

  it('names the versions of what it holds with its state, as long as the link has room', async () => {
    const { talk, digest: blob, state, sent, storePiece, pieceOf, take, backedUp } = await setUp();
    for (const index of [2, 3]) await storePiece(index);
    talk.receive(alice, state({ wantsReply: true }));
    const marks = Buffer.concat([2, 3].map((index) => markOf(pieceOf(index).piece)));
    expect(sent.at(-1)).toEqual({ peer: alice, message: { kind: 'have', digest: blob, pieces: [2, 3], marks } });
    take();
    backedUp.add(bob);
    talk.receive(bob, state({ wantsReply: true }));
    expect(take()).toEqual(['state bob']);
  });

  it('answers who threw pieces away at once, since that one has forgotten who holds them', async () => {
    const { talk, state, take } = await setUp();
    const greeting = state({ pieces: new Uint8Array([0b1100_0000]), wantsReply: true });
    talk.receive(alice, greeting);
    expect(take()).toEqual(['state alice']);
    talk.receive(alice, greeting);
    expect(take()).toEqual([]);
    talk.receive(alice, { ...greeting, pieces: new Uint8Array([0b1000_0000]) });
    expect(take()).toEqual(['state alice']);
  });

  it('waits for no version of a signer that lied, whoever holds it, and for a right one from whoever names it', async () => {
    const { talk, digest: blob, state, scheduler, marks, download, pieceOf, storePiece } = await setUp();
    const liar = await generateIdentity();
    const wrong = pieceOf(3, liar, true).piece;
    await storePiece(3, liar, true);
    download.distrusted.add(liar.peerId);
    download.suspects.add(wrong);
    await download.dropPieces([3]);
    const holders = () => [...scheduler.downloads.get(blob)!.availability.slice(2, 5)];
    talk.receive(alice, state({ pieces: new Uint8Array([0b0011_1000]) }));
    expect(holders()).toEqual([1, 0, 1]);
    talk.receive(alice, {
      kind: 'have',
      digest: blob,
      pieces: [3, 4],
      marks: Buffer.concat([wrong, wrong].map(markOf)),
    });
    expect([holders(), marks]).toEqual([[1, 0, 1], []]);
    talk.receive(alice, { kind: 'have', digest: blob, pieces: [3], marks: markOf(pieceOf(3).piece) });
    expect([holders(), marks]).toEqual([[1, 1, 1], [3]]);
    // It said that already.
    talk.receive(alice, state({ pieces: new Uint8Array([0b0011_1000]) }));
    // Who holds all has seen the digest come out right.
    talk.receive(bob, state({ pieces: undefined, isFetching: false }));
    expect(holders()).toEqual([2, 2, 2]);
  });

  it('answers for a blob it does not fetch from its store', async () => {
    const { talk, state, store, sent, identity, tasks } = await setUp();
    const { key, bytes } = makeBlob(identity, 1000, 5);
    const question = { ...state({ wantsReply: true }), digest: key.digest };
    talk.receive(alice, { ...question, wantsReply: false });
    talk.receive(alice, question);
    await until(() => sent.length === 1, 'it answers');
    expect(sent.pop()!.message).toEqual({ kind: 'leave', digest: key.digest });
    await store.blobs.writeBlob(key.digest, bytes);
    talk.receive(alice, question);
    await until(() => sent.length === 1, 'it answers');
    expect(sent.pop()!.message).toMatchObject({ kind: 'state', sizeBytes: 1000, pieces: undefined, isFetching: false });
    await tasks.stop();
  });

  it('tells only those that still fetch, of a common piece with the next round', async () => {
    const { talk, digest: blob, state, scheduler, take, sent, storePiece, pieceOf } = await setUp();
    for (const index of [2, 3]) await storePiece(index);
    talk.receive(alice, state());
    talk.receive(bob, state({ pieces: undefined, isFetching: false }));
    talk.news.tellHave(blob, 2);
    expect(take()).toEqual(['have alice']);
    for (const peer of ['p1', 'p2'] as PeerId[]) talk.receive(peer, state({ pieces: undefined, isFetching: false }));
    expect(scheduler.downloads.get(blob)!.availability[2]).toBe(3);
    talk.news.tellHave(blob, 2);
    talk.news.tellHave(blob, 3);
    expect(take()).toEqual([]);
    talk.news.tellUnhurried();
    expect(sent.map(({ message }) => message)).toEqual([
      {
        kind: 'have',
        digest: blob,
        pieces: [2, 3],
        marks: Buffer.concat([2, 3].map((index) => markOf(pieceOf(index).piece))),
      },
    ]);
  });

  it('tells of common pieces with whatever else is told', async () => {
    const { talk, digest: blob, state, scheduler, sent, storePiece, take } = await setUp();
    for (const index of [1, 2, 3]) await storePiece(index);
    talk.receive(alice, state());
    for (const peer of ['p1', 'p2', 'p3'] as PeerId[])
      talk.receive(peer, state({ pieces: new Uint8Array([0b0111_0000]) }));
    for (const index of [1, 2]) talk.news.tellHave(blob, index);
    expect(take()).toEqual([]);
    for (const peer of ['p1', 'p2', 'p3'] as PeerId[]) scheduler.memberLeft(blob, peer);
    talk.news.tellHave(blob, 3);
    expect(sent.map(({ peer, message }) => [peer, message.kind === 'have' && message.pieces])).toEqual([
      [alice, [1, 2, 3]],
    ]);
    take();
    talk.news.tellUnhurried();
    expect(take()).toEqual([]);
  });

  it('gives a small blob that was read at the origin to those that lack it, and no other', async () => {
    const { talk, take, met, given, backedUp, scheduler, identity, tasks } = await setUp();
    const small = await openTestDownload(identity, 3_000);
    const piece = small.pieceOf(0);
    expect(talk.news.givePiece(small.digest, piece.piece, piece.bytes)).toBe(false);
    const add = (kit: typeof small) =>
      scheduler.addDownload({ ...kit, originDelayMs: 0, canAskOrigin: true, held: [] });
    add(small);
    for (const peer of [alice, bob, carol]) scheduler.peerSeen(peer, false);
    const says = { pieces: new Bitfield(1), isFetching: true, canAskOrigin: true };
    scheduler.memberState(small.digest, alice, says);
    scheduler.memberState(small.digest, bob, { ...says, isFetching: false });
    scheduler.memberState(small.digest, carol, { ...says, pieces: undefined });
    expect(talk.news.givePiece(small.digest, piece.piece, piece.bytes)).toBe(true);
    expect([take(), given]).toEqual([['piece alice'], [`to alice ${piece.bytes.length}`]]);
    backedUp.add(alice);
    expect(talk.news.givePiece(small.digest, piece.piece, piece.bytes)).toBe(true);
    expect([take(), given.length]).toEqual([['have alice'], 1]);
    const large = await openTestDownload(identity, 20_000, { seed: 2 });
    add(large);
    scheduler.memberState(large.digest, alice, says);
    expect(talk.news.givePiece(large.digest, large.pieceOf(0).piece, large.bytes)).toBe(false);
    const fair = await openTestDownload(identity, 16_000, { seed: 3 });
    add(fair);
    for (let at = 0; at < 17; at += 1) {
      scheduler.peerSeen(`p${at}` as PeerId, false);
      scheduler.memberState(fair.digest, `p${at}` as PeerId, says);
    }
    expect(talk.news.givePiece(fair.digest, fair.pieceOf(0).piece, fair.bytes)).toBe(false);
    expect([take(), met]).toEqual([[], []]);

    await tasks.stop();
  });

  it('hands on a piece that a member gave, if the blob has such a piece', async () => {
    const { talk, digest: blob, pieceOf, given } = await setUp();
    const { piece, bytes } = pieceOf(0);
    talk.receive(alice, { kind: 'piece', digest: blob, piece, bytes });
    talk.receive(alice, { kind: 'piece', digest: blob, piece: { ...piece, index: 4_000 }, bytes });
    expect(given).toEqual([`alice 0 ${bytes.length}`]);
  });

  it('tells of common pieces less often among many members, and then of all', async () => {
    const { talk, digest: blob, state, take, sent, storePiece } = await setUp();
    for (const index of [2, 3]) await storePiece(index);
    talk.receive(alice, state());
    for (let at = 0; at < 16; at += 1)
      talk.receive(`p${at}` as PeerId, state({ pieces: undefined, isFetching: false }));
    talk.news.tellHave(blob, 2);
    for (const _ of [1, 2]) talk.news.tellUnhurried();
    expect(take()).toEqual([]);
    talk.news.tellHave(blob, 3);
    talk.news.tellUnhurried();
    expect(sent.map(({ peer, message }) => [peer, message])).toEqual([
      [alice, expect.objectContaining({ kind: 'have', pieces: [2, 3] })],
    ]);
    take();
    for (const _ of [1, 2, 3]) talk.news.tellUnhurried();
    expect(take()).toEqual([]);
  });

  it('says anew what it holds to seeds too', async () => {
    const { talk, download, state, take } = await setUp();
    talk.receive(alice, state());
    talk.receive(bob, state({ pieces: undefined, isFetching: false }));
    talk.restate(download, true);
    expect(take()).toEqual(['state alice', 'state bob']);
  });

  it('tells of turns at the origin as they begin and while they last', async () => {
    const { talk, digest: blob, scheduler, state, take } = await setUp();
    talk.receive(alice, state());
    const [action] = scheduler.decide();
    if (action?.kind !== 'fetchExtent') throw new Error('expected a turn at the origin');
    talk.tellClaim(action.request);
    expect(take()).toHaveLength(1);
    talk.tellClaims(blob, Number.NEGATIVE_INFINITY);
    expect(take()).toEqual([]);
    talk.tellClaims(blob, Number.POSITIVE_INFINITY);
    expect(take().every((line) => line === 'claim alice')).toBe(true);
  });
});

describe('frames', () => {
  it('carry each kind of message', () => {
    const kinds: SwarmMessage[] = [leave, { kind: 'whole', digest }, { kind: 'release', digest, extent: undefined }];
    expect(decodeFrame(encodeFrame(kinds))).toEqual(kinds);
  });
});
