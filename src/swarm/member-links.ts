import type { PeerId } from '../content/peer-id.ts';
import { type Clock, delay } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { BulkAddress } from '../peer/bulk.ts';
import type { DirectChannels } from '../peer/direct-channels.ts';
import type { Channel, PeerNetwork } from '../peer/peer-network.ts';
import { decodeFrame, encodeFrame, encodeMessage, type SwarmMessage, swarmProtocol } from './messages.ts';

/**
 * One link per peer: a channel that either side opened, what waits to be sent, and what the peer's hello said. Messages of a few
 * milliseconds leave in one frame. A link that breaks is gone with all it knew; the next message opens a new one.
 *
 * The hello says where the peer's bulk plane listens; from then on the end with the lesser ID opens a direct channel there, where a message
 * costs a quarter. The end that takes it says `moved` behind the last frame that it sends on the first channel, and then the other; what comes on
 * the direct one is read behind the other's `moved`, so that nothing overtakes. Where no direct channel can be had the first goes on, and the
 * direct one is tried again later. Once both have moved the end of either is that of the link.
 */
export interface LinkEvents {
  /** The peer said hello: its bulk address is known. */
  ready(peer: PeerId, zone: string): void;
  message(peer: PeerId, message: MemberMessage): void;
  gone(peer: PeerId): void;
}

/** What a node says of itself first. */
type Hello = Omit<SwarmMessage & { kind: 'hello' }, 'kind'>;

/** What is said on a link once both ends know each other. */
export type MemberMessage = Exclude<SwarmMessage, { kind: 'hello' | 'moved' }>;

interface Link {
  /** The first channel as far as this end sends on it. */
  channel: Channel | undefined;
  /** That one, and another if both ends opened one at once: all are read. */
  readonly channels: Set<Channel>;
  direct: Channel | undefined;
  /** This end has said its last on the first channel. */
  hasMoved: boolean;
  hasPeerMoved: boolean;
  /** Settles when the peer has said its last on the first channel, or the link is gone. */
  readonly peerMoved: PromiseWithResolvers<void>;
  isOpening: boolean;
  /** A direct channel is there, being made, or waiting to be tried again. */
  isOpeningDirect: boolean;
  directFailures: number;
  cancelRetry: () => void;
  /** Messages as they go on the wire. */
  outbox: Uint8Array[];
  outboxBytes: number;
  isFlushing: boolean;
  hello: Hello | undefined;
}

// One that each end opened, and as many again while those are being replaced.
const maxChannelsPerLink = 4;

// Messages waiting for a channel that does not open; a swarm of 60 layers says hello with 60 states.
const maxOutbox = 8192;
// They must fit into the channel's own queue once it is open.
const maxOutboxBytes = 768 * 1024;
const maxFrameMessages = 256;
// With the largest message, a bitfield of 96 KiB, still below the channel's limit; the usual one has 100 bytes.
const maxFrameBytes = 24 * 1024;

// A frame costs a few tenths of a millisecond on both ends whatever is in it; a piece takes 50 ms at 20 MiB/s.
const flushAfterMs = 4;

// Two who dial each other at once have two connections for a moment; a link on the one to be closed would keep both.
const prepareAfterMs = 1_000;

// The other end has moved as soon as it has taken the channel, but for a node that is starved of CPU.
const movedWithinMs = 10_000;

// Handshakes of nodes that all start at once may come too late, of 32 on two cores every tenth did; what a pull says costs four times as much without.
const retryDirectMinMs = 10_000;
const retryDirectMaxMs = 600_000;

// A handshake costs both ends some milliseconds and an idle channel some 50 KiB.
const maxEagerLinks = 64;

export class MemberLinks {
  readonly #network: PeerNetwork;
  readonly #direct: DirectChannels;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tasks: TaskGroup;
  readonly #own: Hello;
  readonly #events: LinkEvents;
  readonly #links = new Map<PeerId, Link>();
  /** What goes to many is the same object for all of them, and encoded once. */
  readonly #encoded = new WeakMap<MemberMessage, Uint8Array>();
  /** Links with something in the outbox, once each. */
  #unflushed: [PeerId, Link][] = [];

  constructor(
    deps: { network: PeerNetwork; direct: DirectChannels; clock: Clock; logger: Logger; tasks: TaskGroup },
    own: Hello,
    events: LinkEvents,
  ) {
    this.#network = deps.network;
    this.#direct = deps.direct;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#tasks = deps.tasks;
    this.#own = own;
    this.#events = events;
  }

  findAddress(peer: PeerId): BulkAddress | undefined {
    const hello = this.#links.get(peer)?.hello;
    const connected = this.#network.findPeer(peer);
    if (hello === undefined || connected === undefined) return undefined;
    return { host: hello.bulkHost ?? connected.host, port: hello.bulkPort };
  }

  findZone(peer: PeerId): string | undefined {
    return this.#links.get(peer)?.hello?.zone;
  }

  /**
   * Opens the link to a connected peer before there is anything to say: in a fleet that starts a pull together, each would otherwise
   * open one to every other in its busiest moment. Of the two ends the one with the lesser ID does it.
   */
  prepare(peer: PeerId): void {
    if (this.#network.self > peer) return;
    this.#tasks.run(async (signal) => {
      await delay(this.#clock, prepareAfterMs, signal);
      if (this.#network.findPeer(peer) === undefined) return;
      const link = this.#link(peer);
      if (link.channel === undefined) this.#open(peer, link);
    });
  }

  /** Queues a message; it leaves with the others of the next few milliseconds. */
  send(peer: PeerId, message: MemberMessage): void {
    const link = this.#link(peer);
    if (!link.isOpeningDirect) this.#openDirect(peer, link);
    if (link.outbox.length >= maxOutbox || link.outboxBytes >= maxOutboxBytes) {
      this.#drop(peer, link);
      return;
    }
    let bytes = this.#encoded.get(message);
    if (bytes === undefined) {
      bytes = encodeMessage(message);
      this.#encoded.set(message, bytes);
    }
    link.outbox.push(bytes);
    link.outboxBytes += bytes.length;
    if (link.isFlushing) return;
    link.isFlushing = true;
    this.#unflushed.push([peer, link]);
    // One timer for all: what is told goes to many at once.
    if (this.#unflushed.length === 1) this.#clock.schedule(flushAfterMs, () => this.#flushAll());
  }

  /** Whether a message of so many bytes would find a link that is not backed up. */
  hasRoom(peer: PeerId, bytes: number): boolean {
    return (this.#links.get(peer)?.outboxBytes ?? 0) + bytes <= maxOutboxBytes / 2;
  }

  /** Takes a channel that the peer opened. */
  accept(channel: Channel): void {
    const link = this.#link(channel.peer);
    this.#attach(channel.peer, link, channel);
  }

  /** Takes a direct channel that the peer opened. */
  acceptDirect(channel: Channel): void {
    const link = this.#links.get(channel.peer);
    if (link === undefined) {
      channel.close();
      return;
    }
    this.#attachDirect(channel.peer, link, channel);
    if (link.direct === channel) this.#move(channel.peer, link);
  }

  drop(peer: PeerId): void {
    const link = this.#links.get(peer);
    if (link !== undefined) this.#drop(peer, link);
  }

  close(): void {
    for (const link of this.#links.values()) closeLink(link);
    this.#links.clear();
  }

  #link(peer: PeerId): Link {
    let link = this.#links.get(peer);
    if (link === undefined) {
      link = {
        channel: undefined,
        channels: new Set(),
        direct: undefined,
        hasMoved: false,
        hasPeerMoved: false,
        peerMoved: Promise.withResolvers(),
        isOpening: false,
        isOpeningDirect: false,
        directFailures: 0,
        cancelRetry: () => {},
        outbox: [],
        outboxBytes: 0,
        isFlushing: false,
        hello: undefined,
      };
      this.#links.set(peer, link);
    }
    return link;
  }

  #flushAll(): void {
    const unflushed = this.#unflushed;
    this.#unflushed = [];
    for (const [peer, link] of unflushed) {
      link.isFlushing = false;
      this.#flush(peer, link);
    }
  }

  #flush(peer: PeerId, link: Link): void {
    if (this.#links.get(peer) !== link || link.outbox.length === 0) return;
    if (link.channel === undefined || !link.channel.isOpen) {
      this.#open(peer, link);
      return;
    }
    const channel = link.hasMoved && link.direct !== undefined ? link.direct : link.channel;
    try {
      while (link.outbox.length > 0) {
        const frame = takeFrame(link.outbox);
        link.outboxBytes -= frame.length;
        channel.send(frame);
      }
    } catch (error) {
      this.#logger.debug({ peer, error }, 'swarm link broke');
      this.#drop(peer, link);
    }
  }

  #open(peer: PeerId, link: Link): void {
    if (link.isOpening) return;
    link.isOpening = true;
    this.#tasks.run(async (signal) => {
      try {
        const channel = await this.#network.openChannel(peer, swarmProtocol, signal);
        link.isOpening = false;
        if (this.#links.get(peer) !== link) channel.close();
        else this.#attach(peer, link, channel);
      } catch (error) {
        link.isOpening = false;
        this.#logger.debug({ peer, error }, 'swarm link cannot be opened');
        this.#drop(peer, link);
      }
    });
  }

  #attach(peer: PeerId, link: Link, channel: Channel): void {
    if (link.channels.size >= maxChannelsPerLink) {
      channel.close();
      return;
    }
    // Both sides may open at once: either channel serves for sending, both are read.
    if (link.channel === undefined || !link.channel.isOpen) link.channel = channel;
    link.channels.add(channel);
    try {
      channel.send(encodeFrame([{ kind: 'hello', ...this.#own }]));
    } catch {
      this.#drop(peer, link);
      return;
    }
    this.#listen(peer, link, channel);
    this.#flush(peer, link);
  }

  #listen(peer: PeerId, link: Link, channel: Channel): void {
    this.#tasks.run(async (signal) => {
      const onAbort = () => channel.close();
      signal.addEventListener('abort', onAbort, { once: true });
      try {
        if (channel === link.direct) await link.peerMoved.promise;
        for await (const frame of channel.messages()) this.#receive(peer, link, frame);
      } catch (error) {
        this.#logger.debug({ peer, error }, 'swarm link ended');
      } finally {
        signal.removeEventListener('abort', onAbort);
        channel.close();
        link.channels.delete(channel);
        if (link.channel === channel) this.#drop(peer, link);
      }
    });
  }

  /** In a fleet of hundreds not every pair has something to say: there a direct channel waits for the first message. */
  #openDirect(peer: PeerId, link: Link): void {
    if (link.isOpeningDirect || link.hello === undefined || this.#network.self > peer) return;
    const address = this.findAddress(peer);
    if (address === undefined) return;
    link.isOpeningDirect = true;
    this.#tasks.run(async (signal) => {
      try {
        const channel = await this.#direct.open(peer, address, signal);
        this.#attachDirect(peer, link, channel);
        if (link.hasPeerMoved) this.#move(peer, link);
      } catch (error) {
        this.#logger.debug({ peer, error }, 'direct channel cannot be opened');
        this.#retryDirect(peer, link);
      }
    });
  }

  #retryDirect(peer: PeerId, link: Link): void {
    if (this.#links.get(peer) !== link) return;
    const waitMs = Math.min(retryDirectMinMs * 2 ** link.directFailures, retryDirectMaxMs);
    link.directFailures += 1;
    link.cancelRetry = this.#clock.schedule(waitMs, () => {
      link.isOpeningDirect = false;
      this.#openDirect(peer, link);
    });
  }

  #attachDirect(peer: PeerId, link: Link, channel: Channel): void {
    if (this.#links.get(peer) !== link || link.channel?.isOpen !== true || link.direct !== undefined) {
      channel.close();
      // Who opens a second one has lost the link that this end still believes in.
      if (link.direct !== undefined) this.#drop(peer, link);
      return;
    }
    link.direct = channel;
    const cancel = this.#clock.schedule(movedWithinMs, () => channel.close());
    void link.peerMoved.promise.then(cancel);
    channel.onClose(() => {
      cancel();
      if (link.direct !== channel) return;
      if (link.hasMoved || link.hasPeerMoved) this.#drop(peer, link);
      else {
        link.direct = undefined;
        if (link.isOpeningDirect) this.#retryDirect(peer, link);
      }
    });
    this.#listen(peer, link, channel);
  }

  /** From now on this end sends on the direct channel. */
  #move(peer: PeerId, link: Link): void {
    if (link.hasMoved || link.direct === undefined) return;
    this.#flush(peer, link);
    if (this.#links.get(peer) !== link || link.channel === undefined) return;
    try {
      link.channel.send(encodeFrame([{ kind: 'moved' }]));
      link.hasMoved = true;
    } catch {
      this.#drop(peer, link);
    }
  }

  #receive(peer: PeerId, link: Link, frame: Uint8Array): void {
    // Of a link that is gone nothing counts any more, whichever of its channels it comes from.
    if (this.#links.get(peer) !== link) return;
    for (const message of decodeFrame(frame)) {
      if (message.kind === 'hello') {
        link.hello = message;
        this.#events.ready(peer, message.zone);
        if (this.#links.size <= maxEagerLinks) this.#openDirect(peer, link);
      } else if (message.kind === 'moved') {
        link.hasPeerMoved = true;
        link.peerMoved.resolve();
        this.#move(peer, link);
      } else {
        this.#events.message(peer, message);
      }
    }
  }

  #drop(peer: PeerId, link: Link): void {
    if (this.#links.get(peer) !== link) return;
    this.#links.delete(peer);
    closeLink(link);
    this.#events.gone(peer);
  }
}

/** Takes from the outbox what fits into one frame. */
function takeFrame(outbox: Uint8Array[]): Uint8Array {
  let count = 0;
  for (let bytes = 0; count < Math.min(outbox.length, maxFrameMessages) && bytes < maxFrameBytes; count += 1)
    bytes += outbox[count]?.length ?? 0;
  const [only, ...others] = outbox.splice(0, count);
  return only !== undefined && others.length === 0 ? only : Buffer.concat([only ?? new Uint8Array(), ...others]);
}

function closeLink(link: Link): void {
  for (const channel of link.channels) channel.close();
  link.direct?.close();
  link.cancelRetry();
  link.peerMoved.resolve();
}
