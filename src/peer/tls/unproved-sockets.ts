import type { Socket } from 'node:net';

export interface UnprovedSocketsOptions {
  /** Sockets at once that no member has been found behind. */
  readonly maxUnproved: number;
  readonly maxUnprovedPerHost: number;
}

interface Unproved {
  readonly socket: Socket;
  readonly host: string;
}

/**
 * The sockets behind which no member has been found yet: in the handshake, or of a peer that has no session with this node so far.
 * Anyone can open these, so they are bounded apart from the others: they never take the room of members.
 */
export class UnprovedSockets {
  readonly #options: UnprovedSocketsOptions;
  /** Oldest first; by the far end's address and port, because TLS has an object of its own for the socket that was accepted. */
  readonly #sockets = new Map<string, Unproved>();
  readonly #counts = new Map<string, number>();

  constructor(options: UnprovedSocketsOptions) {
    this.#options = options;
  }

  /**
   * Counts a socket that was just accepted; false when its host has too many. Beyond the total the oldest one is destroyed: an honest
   * handshake takes a moment, and who holds many for long must not keep the honest ones out.
   */
  add(socket: Socket): boolean {
    const key = keyOf(socket);
    const host = socket.remoteAddress;
    const { maxUnproved, maxUnprovedPerHost } = this.#options;
    if (key === undefined || host === undefined) return false;
    if ((this.#counts.get(host) ?? 0) >= maxUnprovedPerHost) return false;
    const [oldest] = this.#sockets.entries();
    if (oldest !== undefined && this.#sockets.size >= maxUnproved) {
      this.#remove(oldest[0], oldest[1]);
      oldest[1].socket.destroy();
    }
    const entry = { socket, host };
    this.#sockets.set(key, entry);
    this.#counts.set(host, (this.#counts.get(host) ?? 0) + 1);
    socket.once('close', () => this.#remove(key, entry));
    return true;
  }

  /** A member is behind it: it counts no longer. */
  prove(socket: Socket): void {
    const key = keyOf(socket);
    const entry = key === undefined ? undefined : this.#sockets.get(key);
    if (key !== undefined && entry !== undefined) this.#remove(key, entry);
  }

  #remove(key: string, entry: Unproved): void {
    if (this.#sockets.get(key) !== entry) return;
    this.#sockets.delete(key);
    const count = (this.#counts.get(entry.host) ?? 0) - 1;
    if (count > 0) this.#counts.set(entry.host, count);
    else this.#counts.delete(entry.host);
  }
}

/** Undefined when the socket is gone already. */
function keyOf({ remoteAddress, remotePort }: Socket): string | undefined {
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort}`;
}
