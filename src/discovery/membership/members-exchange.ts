import type { PeerId } from '../../content/peer-id.ts';
import { type Clock, delay, type Random } from '../../lib/clock.ts';
import { isCode } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import { Semaphore } from '../../lib/semaphore.ts';
import type { TaskGroup } from '../../lib/task-group.ts';
import type { Channel, PeerNetwork } from '../../peer/peer-network.ts';
import type { MemberBook } from './member-book.ts';
import {
  decodeMembers,
  encodeMembers,
  type MemberAddresses,
  type MembersMessage,
  maxMembersPerMessage,
  membersProtocol,
} from './members-protocol.ts';

export interface MembersExchangeDeps {
  readonly network: PeerNetwork;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly tasks: TaskGroup;
  readonly book: MemberBook;
  onMembers(from: PeerId, members: readonly MemberAddresses[]): void;
  /** The last exchange under way has ended. */
  onIdle(): void;
}

export interface MembersExchangeOptions {
  /** How often a random connected member is asked. */
  readonly exchangeIntervalMs: number;
  readonly exchangeTimeoutMs: number;
}

/** Exchanges in which a newcomer asks for everyone; a few, because its first partner may itself be new. */
const fullExchanges = 3;
/** Asked for later: a sample a round spreads a newcomer through 1000 members in a few rounds, and costs 4 KB. */
const sampleSize = 32;
/** A join of a large fleet connects to everyone at once. */
const parallelExchanges = 8;

/** Tells connected members of each other: at every new connection (the lesser peer ID asks, and a newcomer), and now and then at random. */
export class MembersExchange {
  readonly #deps: MembersExchangeDeps;
  readonly #options: MembersExchangeOptions;
  readonly #slots = new Semaphore(parallelExchanges);
  #stopServing: (() => void) | undefined;
  #running = 0;
  #completed = 0;

  constructor(deps: MembersExchangeDeps, options: MembersExchangeOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#running === 0;
  }

  start(): void {
    const { network, tasks } = this.#deps;
    this.#stopServing = network.handle(membersProtocol, (channel) => {
      tasks.run((signal) => this.#guard(channel.peer, () => this.#answer(channel, signal)));
    });
    tasks.run((signal) => this.#askAround(signal));
  }

  stop(): void {
    this.#stopServing?.();
  }

  connected(peer: PeerId): void {
    if (this.#deps.network.self < peer || this.#completed < fullExchanges) this.#askSoon(peer);
  }

  #askSoon(peer: PeerId): void {
    this.#running += 1;
    this.#deps.tasks.run(async (signal) => {
      try {
        const release = await this.#slots.acquire(signal);
        try {
          await this.#guard(peer, () => this.#ask(peer, signal));
        } finally {
          release();
        }
      } finally {
        this.#running -= 1;
        if (this.#running === 0) this.#deps.onIdle();
      }
    });
  }

  async #askAround(signal: AbortSignal): Promise<void> {
    const { network, clock, random } = this.#deps;
    while (!signal.aborted) {
      await delay(clock, this.#options.exchangeIntervalMs * (0.5 + random.next()), signal);
      const peers = network.peers();
      const picked = peers[Math.floor(random.next() * peers.length)];
      if (picked !== undefined) this.#askSoon(picked.peer);
    }
  }

  async #ask(peer: PeerId, signal: AbortSignal): Promise<void> {
    const { network } = this.#deps;
    await this.#bounded(signal, async (bounded) => {
      const channel = await network.openChannel(peer, membersProtocol, bounded);
      const cut = () => channel.close();
      bounded.addEventListener('abort', cut, { once: true });
      try {
        const wanted = this.#completed < fullExchanges ? maxMembersPerMessage : sampleSize;
        channel.send(encodeMembers(this.#message(peer, wanted, sampleSize)));
        for await (const bytes of channel.messages()) {
          this.#take(peer, bytes);
          this.#completed += 1;
          break;
        }
      } finally {
        bounded.removeEventListener('abort', cut);
        channel.close();
      }
    });
  }

  /** Answers one message; the asker closes, because a close here could overtake the answer. */
  async #answer(channel: Channel, signal: AbortSignal): Promise<void> {
    await this.#bounded(signal, async (bounded) => {
      const cut = () => channel.close();
      bounded.addEventListener('abort', cut, { once: true });
      let isAnswered = false;
      try {
        for await (const bytes of channel.messages()) {
          if (isAnswered) break;
          isAnswered = true;
          const { wanted } = this.#take(channel.peer, bytes);
          channel.send(encodeMembers(this.#message(channel.peer, 0, wanted)));
        }
      } finally {
        bounded.removeEventListener('abort', cut);
        channel.close();
      }
    });
  }

  #take(from: PeerId, bytes: Uint8Array): MembersMessage {
    const message = decodeMembers(bytes);
    this.#deps.onMembers(from, message.members);
    return message;
  }

  #message(to: PeerId, wanted: number, count: number): MembersMessage {
    const { network, book, random } = this.#deps;
    const others = network.peers().flatMap(({ peer }) => (peer === to ? [] : peer));
    const own = { peer: network.self, addresses: network.addresses() };
    return { wanted, members: [own, ...book.sample(others, Math.min(count, maxMembersPerMessage - 1), random)] };
  }

  async #bounded(signal: AbortSignal, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const deadline = new AbortController();
    const cancel = this.#deps.clock.schedule(this.#options.exchangeTimeoutMs, () => {
      deadline.abort(new DOMException('the exchange took too long', 'TimeoutError'));
    });
    try {
      await work(AbortSignal.any([signal, deadline.signal]));
    } finally {
      cancel();
    }
  }

  /** A member that cannot exchange is still a member: the next round asks another. */
  async #guard(peer: PeerId, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const isExpected =
        isCode(
          error,
          'PEER_UNREACHABLE',
          'PEER_STALLED',
          'PEER_UNTRUSTED',
          'PEER_CUT',
          'PEER_OVERFLOW',
          'PEER_PROTOCOL',
          'WIRE_INVALID',
        ) ||
        (error instanceof DOMException && error.name === 'TimeoutError');
      if (!isExpected) throw error;
      this.#deps.logger.debug({ peer, reason: error.message }, 'members could not be exchanged');
    }
  }
}
