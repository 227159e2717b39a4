import type { PeerId } from '../../content/peer-id.ts';
import { raceAbort } from '../../lib/race-abort.ts';
import type { Channel, PeerNetwork } from '../../peer/peer-network.ts';
import { DiscoveryError } from '../errors.ts';
import { decodeTagAnswer, encodeTagRequest, type TagAnswer, type TagRequest, tagProtocol } from './tag-messages.ts';

interface Line {
  readonly channel: Channel;
  readonly pending: Map<number, PromiseWithResolvers<TagAnswer>>;
  nextId: number;
}

interface Entry {
  readonly line: Promise<Line>;
  /** Questions on it; a line in use is not closed to make room. */
  asks: number;
}

/** Asks peers over channels that stay open: opening one costs seven times a message. */
export class TagClient {
  readonly #network: PeerNetwork;
  readonly #maxChannels: number;
  /** Least recently used first. */
  readonly #lines = new Map<PeerId, Entry>();
  readonly #stopping = new AbortController();
  readonly #walks = new Set<Promise<void>>();

  constructor(network: PeerNetwork, maxChannels: number) {
    this.#network = network;
    this.#maxChannels = maxChannels;
  }

  /** @throws PEER_UNREACHABLE, PEER_STALLED, PEER_CUT, PEER_OVERFLOW, DISCOVERY_PROTOCOL, DISCOVERY_STOPPED */
  async ask(peer: PeerId, message: TagRequest, signal: AbortSignal): Promise<TagAnswer> {
    const entry = this.#entryOf(peer);
    entry.asks += 1;
    try {
      return await this.#askOn(await raceAbort(entry.line, signal), message, signal);
    } finally {
      entry.asks -= 1;
      this.#closeExcess();
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new DiscoveryError('DISCOVERY_STOPPED', 'the node is stopping'));
    for (const { line } of this.#lines.values()) close(line);
    while (this.#walks.size > 0) await Promise.allSettled([...this.#walks]);
  }

  async #askOn(line: Line, message: TagRequest, signal: AbortSignal): Promise<TagAnswer> {
    const id = line.nextId;
    line.nextId = (line.nextId + 1) % 2 ** 32;
    const answered = Promise.withResolvers<TagAnswer>();
    line.pending.set(id, answered);
    // The line may fail it after the asker has left.
    answered.promise.catch(() => {});
    try {
      line.channel.send(encodeTagRequest({ id, message }));
      const answer = await raceAbort(answered.promise, signal);
      if (answer.kind !== 'absent' && answer.kind !== message.kind) throw broken(line.channel.peer);
      return answer;
    } finally {
      line.pending.delete(id);
    }
  }

  #entryOf(peer: PeerId): Entry {
    const known = this.#lines.get(peer);
    const entry = known ?? { line: this.#open(peer), asks: 0 };
    this.#lines.delete(peer);
    this.#lines.set(peer, entry);
    if (known === undefined) {
      entry.line.catch(() => {
        if (this.#lines.get(peer) === entry) this.#lines.delete(peer);
      });
    }
    return entry;
  }

  async #open(peer: PeerId): Promise<Line> {
    const channel = await this.#network.openChannel(peer, tagProtocol, this.#stopping.signal);
    const line: Line = { channel, pending: new Map(), nextId: 0 };
    const walk = this.#walk(line).finally(() => this.#walks.delete(walk));
    this.#walks.add(walk);
    return line;
  }

  async #walk(line: Line): Promise<void> {
    const { channel, pending } = line;
    try {
      for await (const bytes of channel.messages()) {
        const { id, message } = decodeTagAnswer(bytes);
        pending.get(id)?.resolve(message);
      }
    } catch {
      // A peer that breaks the protocol is treated as one that hung up; whoever waits learns it below.
    } finally {
      channel.close();
      const current = this.#lines.get(channel.peer);
      if ((await current?.line.catch(() => undefined)) === line) this.#lines.delete(channel.peer);
      for (const waiting of pending.values()) waiting.reject(broken(channel.peer));
    }
  }

  #closeExcess(): void {
    for (const [peer, { line, asks }] of this.#lines) {
      if (this.#lines.size <= this.#maxChannels) return;
      if (asks > 0) continue;
      this.#lines.delete(peer);
      close(line);
    }
  }
}

function close(line: Promise<Line>): void {
  line.then(({ channel }) => channel.close()).catch(() => {});
}

function broken(peer: PeerId): DiscoveryError {
  return new DiscoveryError('DISCOVERY_PROTOCOL', 'the peer hung up or gave an answer to another question', {
    details: { peer },
  });
}
