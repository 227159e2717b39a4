import type { PeerId } from '../content/peer-id.ts';
import { type Clock, delay } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { BulkAddress } from '../peer/bulk.ts';
import type { Channel, PeerNetwork } from '../peer/peer-network.ts';
import { decodeFrame, encodeFrame, type SwarmMessage, swarmProtocol } from './messages.ts';

/**
 * One link per peer: a channel that either side opened, what waits to be sent, and what the peer's hello said. Messages of a few
 * milliseconds leave in one frame. A link that breaks is gone with all it knew; the next message opens a new one.
 */
export interface LinkEvents {
  /** The peer said hello: its bulk address is known. */
  ready(peer: PeerId, zone: string): void;
  message(peer: PeerId, message: SwarmMessage): void;
  gone(peer: PeerId): void;
}

/** What a node says of itself first. */
type Hello = Omit<SwarmMessage & { kind: 'hello' }, 'kind'>;

interface Link {
  channel: Channel | undefined;
  isOpening: boolean;
  outbox: SwarmMessage[];
  isFlushing: boolean;
  hello: Hello | undefined;
}

// Messages waiting for a channel that does not open; a swarm of 60 layers says hello with 60 states.
const maxOutbox = 8192;
// Keeps a frame well below the channel's limit: the largest message is a bitfield of 96 KiB, the usual one 100 bytes.
const maxFrameMessages = 256;

// A frame costs a few tenths of a millisecond on both ends whatever is in it; a piece takes 50 ms at 20 MiB/s.
const flushAfterMs = 4;

// Two who dial each other at once have two connections for a moment; a link on the one to be closed would keep both.
const prepareAfterMs = 1_000;

export class MemberLinks {
  readonly #network: PeerNetwork;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tasks: TaskGroup;
  readonly #own: Hello;
  readonly #events: LinkEvents;
  readonly #links = new Map<PeerId, Link>();

  constructor(
    deps: { network: PeerNetwork; clock: Clock; logger: Logger; tasks: TaskGroup },
    own: Hello,
    events: LinkEvents,
  ) {
    this.#network = deps.network;
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
  send(peer: PeerId, message: SwarmMessage): void {
    const link = this.#link(peer);
    if (link.outbox.length >= maxOutbox) {
      this.#drop(peer, link);
      return;
    }
    link.outbox.push(message);
    if (link.isFlushing) return;
    link.isFlushing = true;
    this.#clock.schedule(flushAfterMs, () => this.#flush(peer, link));
  }

  /** Takes a channel that the peer opened. */
  accept(channel: Channel): void {
    const link = this.#link(channel.peer);
    this.#attach(channel.peer, link, channel);
  }

  drop(peer: PeerId): void {
    const link = this.#links.get(peer);
    if (link !== undefined) this.#drop(peer, link);
  }

  close(): void {
    for (const link of this.#links.values()) link.channel?.close();
    this.#links.clear();
  }

  #link(peer: PeerId): Link {
    let link = this.#links.get(peer);
    if (link === undefined) {
      link = { channel: undefined, isOpening: false, outbox: [], isFlushing: false, hello: undefined };
      this.#links.set(peer, link);
    }
    return link;
  }

  #flush(peer: PeerId, link: Link): void {
    link.isFlushing = false;
    if (this.#links.get(peer) !== link || link.outbox.length === 0) return;
    if (link.channel === undefined || !link.channel.isOpen) {
      this.#open(peer, link);
      return;
    }
    try {
      while (link.outbox.length > 0) link.channel.send(encodeFrame(link.outbox.splice(0, maxFrameMessages)));
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
    // Both sides may open at once: either channel serves for sending, both are read.
    if (link.channel === undefined || !link.channel.isOpen) link.channel = channel;
    try {
      channel.send(encodeFrame([{ kind: 'hello', ...this.#own }]));
    } catch {
      this.#drop(peer, link);
      return;
    }
    this.#tasks.run(async (signal) => {
      const onAbort = () => channel.close();
      signal.addEventListener('abort', onAbort, { once: true });
      try {
        for await (const frame of channel.messages()) this.#receive(peer, link, frame);
      } catch (error) {
        this.#logger.debug({ peer, error }, 'swarm link ended');
      } finally {
        signal.removeEventListener('abort', onAbort);
        channel.close();
        if (link.channel === channel) this.#drop(peer, link);
      }
    });
    this.#flush(peer, link);
  }

  #receive(peer: PeerId, link: Link, frame: Uint8Array): void {
    for (const message of decodeFrame(frame)) {
      if (message.kind === 'hello') {
        link.hello = message;
        this.#events.ready(peer, message.zone);
      } else {
        this.#events.message(peer, message);
      }
    }
  }

  #drop(peer: PeerId, link: Link): void {
    if (this.#links.get(peer) !== link) return;
    this.#links.delete(peer);
    link.channel?.close();
    this.#events.gone(peer);
  }
}
