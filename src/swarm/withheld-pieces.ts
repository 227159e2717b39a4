import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';
import type { ProvenSigners } from './proven-signers.ts';

/**
 * Which pieces that peers brought are kept from clients for a while. A version of a piece that nobody else has is noticed soon after members
 * have told each other what they hold (`disputes.ts`), and a client that was given wrong bytes has to begin anew. So every piece waits a
 * moment; those of a signer this node has no blob of wait until it was there for some time, without anybody who contradicts it.
 */
export class WithheldPieces {
  readonly #clock: Clock;
  readonly #proven: Pick<ProvenSigners, 'has'>;
  readonly #onChange: () => void;
  readonly #arrived = new Map<number, { readonly signer: PeerId; readonly atMs: number }>();
  /** When the first piece of each signer came. */
  readonly #signersMs = new Map<PeerId, number>();
  #cancelWake: (() => void) | undefined;
  #isClosed = false;

  constructor(clock: Clock, proven: Pick<ProvenSigners, 'has'>, onChange: () => void) {
    this.#clock = clock;
    this.#proven = proven;
    this.#onChange = onChange;
  }

  /** Nothing more is withheld once it is closed. */
  arrived(index: number, signer: PeerId): void {
    if (this.#isClosed) return;
    const atMs = this.#clock.nowMs();
    this.#arrived.set(index, { signer, atMs });
    if (!this.#signersMs.has(signer)) this.#signersMs.set(signer, atMs);
    this.#wakeLater();
  }

  has(index: number): boolean {
    const piece = this.#arrived.get(index);
    if (piece === undefined) return false;
    const nowMs = this.#clock.nowMs();
    if (nowMs - piece.atMs < pieceMs) return true;
    const knownSinceMs = this.#signersMs.get(piece.signer) ?? piece.atMs;
    return nowMs - knownSinceMs < newSignerMs && !this.#proven.has(piece.signer);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelWake?.();
    this.#arrived.clear();
  }

  #wakeLater(): void {
    this.#cancelWake ??= this.#clock.schedule(pieceMs / 4, () => {
      this.#cancelWake = undefined;
      const { size } = this.#arrived;
      for (const index of this.#arrived.keys()) if (!this.has(index)) this.#arrived.delete(index);
      if (this.#arrived.size < size) this.#onChange();
      if (this.#arrived.size > 0) this.#wakeLater();
    });
  }
}

// Members tell each other of new pieces within a fifth of a second; as much again for a busy node.
const pieceMs = 500;
// A liar's first piece meets a version of somebody else only when more is spread: within 2 s in fleets whose cores are full.
const newSignerMs = 2000;
