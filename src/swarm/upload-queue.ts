import type { PeerId } from '../content/peer-id.ts';

/**
 * Decides who is served next when all upload slots are taken: the piece that was sent least often goes first, so that a node
 * with something new hands each part of it out once before it hands any part out twice (BEP 16's aim, by construction); among
 * equals the peer with the fewest running uploads, then the one that waited longest. Pure bookkeeping, no I/O.
 */
export interface UploadTicket {
  readonly peer: PeerId;
  /** Key of the first piece of the run. */
  readonly pieceKey: string;
  /** The first, small pieces of a blob: a client waits for its first byte, and they cost next to nothing. */
  readonly isUrgent: boolean;
  readonly grant: () => void;
}

/** Beside the others: small pieces do not wait behind large ones; bounded all the same. */
export const urgentSlots = 8;

export class UploadQueue {
  readonly #slots: number;
  readonly #maxWaiting: number;
  readonly #running = new Map<PeerId, number>();
  readonly #waiting: UploadTicket[] = [];
  readonly #sent = new Map<string, number>();
  #used = 0;

  constructor(options: { slots: number; maxWaiting: number }) {
    this.#slots = options.slots;
    this.#maxWaiting = options.maxWaiting;
  }

  get running(): number {
    return this.#used;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Grants at once, queues, or returns false when the queue is full. */
  enter(ticket: UploadTicket): boolean {
    if (this.#used < this.#slotsFor(ticket)) {
      this.#grant(ticket);
      return true;
    }
    if (this.#waiting.length >= this.#maxWaiting) return false;
    this.#waiting.push(ticket);
    return true;
  }

  /** Takes a waiting ticket back; false if it was granted already. */
  leave(ticket: UploadTicket): boolean {
    const at = this.#waiting.indexOf(ticket);
    if (at < 0) return false;
    this.#waiting.splice(at, 1);
    return true;
  }

  /** Ends a granted upload and grants the next. */
  release(ticket: UploadTicket): void {
    this.#used -= 1;
    const running = (this.#running.get(ticket.peer) ?? 1) - 1;
    if (running === 0) this.#running.delete(ticket.peer);
    else this.#running.set(ticket.peer, running);
    const next = this.#next();
    if (next === undefined || this.#used >= this.#slotsFor(next)) return;
    this.#waiting.splice(this.#waiting.indexOf(next), 1);
    this.#grant(next);
  }

  #slotsFor(ticket: UploadTicket): number {
    return this.#slots + (ticket.isUrgent ? urgentSlots : 0);
  }

  #next(): UploadTicket | undefined {
    let best: UploadTicket | undefined;
    for (const ticket of this.#waiting) if (best === undefined || this.#compare(ticket, best) < 0) best = ticket;
    return best;
  }

  #compare(a: UploadTicket, b: UploadTicket): number {
    return (
      Number(b.isUrgent) - Number(a.isUrgent) ||
      (this.#sent.get(a.pieceKey) ?? 0) - (this.#sent.get(b.pieceKey) ?? 0) ||
      (this.#running.get(a.peer) ?? 0) - (this.#running.get(b.peer) ?? 0)
    );
  }

  #grant(ticket: UploadTicket): void {
    this.#used += 1;
    this.#running.set(ticket.peer, (this.#running.get(ticket.peer) ?? 0) + 1);
    // Bounded: counts of long-gone downloads do not matter, so starting over is harmless.
    if (this.#sent.size > 16_384) this.#sent.clear();
    this.#sent.set(ticket.pieceKey, (this.#sent.get(ticket.pieceKey) ?? 0) + 1);
    ticket.grant();
  }
}
