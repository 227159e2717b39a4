import type { PeerId } from '../../content/peer-id.ts';
import type { Session } from './session.ts';

/** The admitted sessions by peer. Two nodes that dial each other at once have two; both ends prefer the same one. */
export class SessionTable {
  readonly #self: PeerId;
  readonly #sessions = new Map<PeerId, Session[]>();

  constructor(self: PeerId) {
    this.#self = self;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** Adds a session; tells whether it is the peer's first. */
  add(session: Session): boolean {
    const sessions = this.#sessions.get(session.peer);
    if (sessions === undefined) this.#sessions.set(session.peer, [session]);
    else sessions.push(session);
    return sessions === undefined;
  }

  /** Removes a session; tells whether it was the peer's last. */
  remove(session: Session): boolean {
    const sessions = this.#sessions.get(session.peer);
    const at = sessions?.indexOf(session) ?? -1;
    if (sessions === undefined || at < 0) return false;
    sessions.splice(at, 1);
    if (sessions.length > 0) return false;
    this.#sessions.delete(session.peer);
    return true;
  }

  /** Returns the session to open channels on: the one the smaller peer ID dialled, the oldest of those. */
  preferred(peer: PeerId): Session | undefined {
    const sessions = this.#sessions.get(peer) ?? [];
    return sessions.find((session) => session.isDialler === this.#self < peer) ?? sessions[0];
  }

  /** Returns a peer's sessions, oldest first. */
  of(peer: PeerId): readonly Session[] {
    return [...(this.#sessions.get(peer) ?? [])];
  }

  /** Returns the sessions this node dialled that are neither preferred nor in use. */
  surplus(): readonly Session[] {
    return [...this.#sessions.values()].flatMap((sessions) =>
      sessions.filter((session) => {
        if (!session.isDialler || session.channelCount > 0) return false;
        return this.preferred(session.peer) !== session;
      }),
    );
  }

  peers(): readonly PeerId[] {
    return [...this.#sessions.keys()];
  }
}
