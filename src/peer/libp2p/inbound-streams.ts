import type { Stream } from '@libp2p/interface';
import type { PeerId } from '../../content/peer-id.ts';

/** Counts the streams that peers opened here by peer and protocol. libp2p counts by connection, of which a peer may have several. */
export class InboundStreams {
  readonly #maxPerPeer: number;
  readonly #counts = new Map<string, number>();

  /** `maxPerPeer` is for each protocol. */
  constructor(maxPerPeer: number) {
    this.#maxPerPeer = maxPerPeer;
  }

  /** Counts a stream until it closes; false when the peer has as many as it may. */
  add(peer: PeerId, protocol: string, stream: Stream): boolean {
    const key = `${peer} ${protocol}`;
    const count = this.#counts.get(key) ?? 0;
    if (count >= this.#maxPerPeer) return false;
    // One that has closed already says so no more.
    if (stream.status !== 'open') return true;
    this.#counts.set(key, count + 1);
    stream.addEventListener('close', () => this.#remove(key), { once: true });
    return true;
  }

  #remove(key: string): void {
    const count = (this.#counts.get(key) ?? 0) - 1;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }
}
