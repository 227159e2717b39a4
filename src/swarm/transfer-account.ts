import type { PeerId } from '../content/peer-id.ts';
import type { Clock } from '../lib/clock.ts';
import type { Transfer, TransferPeer, TransferWait, WaitKind } from './swarm.ts';

export type StoredFrom =
  | { readonly from: 'peer'; readonly peer: PeerId }
  | { readonly from: 'origin' }
  | { readonly from: 'local' };

/** Pieces that were here: it is known at most who sent them together, not who sent which. */
type BookedAs = StoredFrom | { readonly from: 'earlier' };

/**
 * The books of one download: who sent how much and how fast, who stood still, and where the time went. Changes nothing. Those of one that
 * is taken up again go on where the earlier attempt's ended.
 */
export class TransferAccount {
  readonly #clock: Clock;
  readonly #peers = new Map<PeerId, { bytes: number; stalls: number; waitedMs: number }>();
  readonly #bytes = { origin: 0, peer: 0, local: 0 };
  /** Of the pieces that were here when it began. */
  readonly #foundBytes = { origin: 0, peer: 0, local: 0 };
  readonly #stored = new Map<number, { readonly bytes: number; readonly source: BookedAs }>();
  readonly #waitedMs: Partial<Record<WaitKind, number>> = {};
  /** Oldest first; what came in over the last few seconds. */
  readonly #recent: { readonly sinceMs: number; origin: number; readonly peers: Map<PeerId, number> }[] = [];
  readonly #earlier: Transfer | undefined;
  #wait: TransferWait | undefined = { for: 'directory' };
  #waitSinceMs: number;
  #stalls = 0;
  #firstByteMs: number | undefined;

  constructor(clock: Clock, earlier?: Transfer) {
    this.#clock = clock;
    this.#earlier = earlier;
    this.#waitSinceMs = clock.nowMs();
    if (earlier === undefined) return;
    this.#stalls = earlier.stalls;
    Object.assign(this.#waitedMs, earlier.waitedMs);
    // Between the attempts as well.
    const restMs = Math.max(0, clock.wallMs() - (earlier.endedAtMs ?? clock.wallMs()));
    this.#waitedMs.nobody = (this.#waitedMs.nobody ?? 0) + restMs;
    for (const { peer, stalls, waitedMs } of earlier.peers) Object.assign(this.#of(peer), { stalls, waitedMs });
  }

  /** Of the pieces held, by source. */
  get bytes(): { readonly origin: number; readonly peer: number; readonly local: number } {
    const { origin, peer, local } = this.#foundBytes;
    return { origin: this.#bytes.origin + origin, peer: this.#bytes.peer + peer, local: this.#bytes.local + local };
  }

  get wait(): TransferWait | undefined {
    return this.#wait;
  }

  get stalls(): number {
    return this.#stalls;
  }

  /** Milliseconds since it was last said what the download waits for. */
  get waitAgeMs(): number {
    return this.#clock.nowMs() - this.#waitSinceMs;
  }

  /** Bytes came in, verified or not yet; undefined = from the origin. */
  received(peer: PeerId | undefined, bytes: number): void {
    const nowMs = this.#clock.nowMs();
    this.#firstByteMs ??= nowMs;
    let slot = this.#recent.at(-1);
    if (slot === undefined || nowMs - slot.sinceMs >= slotMs) {
      slot = { sinceMs: nowMs, origin: 0, peers: new Map() };
      this.#recent.push(slot);
      if (this.#recent.length > recentSlots + 1) this.#recent.shift();
    }
    if (peer === undefined) slot.origin += bytes;
    else slot.peers.set(peer, (slot.peers.get(peer) ?? 0) + bytes);
  }

  /** A piece was verified and written. */
  stored(piece: number, bytes: number, source: StoredFrom): void {
    this.#stored.set(piece, { bytes, source });
    this.#add(source, bytes);
  }

  /** These pieces were here when it began; sizes in bytes by index. */
  found(pieces: ReadonlyMap<number, number>): void {
    for (const [piece, bytes] of pieces) this.#stored.set(piece, { bytes, source: { from: 'earlier' } });
    for (const { peer, bytes } of this.#earlier?.peers ?? []) this.#of(peer).bytes += bytes;
    Object.assign(this.#foundBytes, this.#earlier?.bytes);
    const { origin, peer, local } = this.#foundBytes;
    const unknownBytes = pieces.values().reduce((sum, bytes) => sum + bytes, 0) - origin - peer - local;
    // After a crash there may be more than the earlier attempt spoke of, or less.
    if (unknownBytes > 0) this.#foundBytes.local += unknownBytes;
    else this.#lost(-unknownBytes);
  }

  /** A piece is thrown away: it came from nobody, so that the sources add up to what is held. */
  dropped(piece: number): void {
    const stored = this.#stored.get(piece);
    if (stored === undefined) return;
    this.#stored.delete(piece);
    if (stored.source.from === 'earlier') this.#lost(stored.bytes);
    else this.#add(stored.source, -stored.bytes);
  }

  /** The whole blob was here from before. */
  hadAll(sizeBytes: number): void {
    this.#bytes.local = sizeBytes;
  }

  #add(source: StoredFrom, bytes: number): void {
    this.#bytes[source.from] += bytes;
    if (source.from === 'peer') this.#of(source.peer).bytes += bytes;
  }

  /** Of what was here; it is not known who had sent it. */
  #lost(bytes: number): void {
    let left = bytes;
    for (const source of ['peer', 'origin', 'local'] as const) {
      const taken = Math.min(left, this.#foundBytes[source]);
      this.#foundBytes[source] -= taken;
      left -= taken;
    }
  }

  stalled(peer: PeerId): void {
    this.#stalls += 1;
    this.#of(peer).stalls += 1;
  }

  /** From now on it waits for something else, or the same; undefined = it has ended. */
  waitFor(wait: TransferWait | undefined): void {
    const nowMs = this.#clock.nowMs();
    if (this.#wait !== undefined) {
      const { for: kind, peer } = this.#wait;
      const ms = nowMs - this.#waitSinceMs;
      this.#waitedMs[kind] = (this.#waitedMs[kind] ?? 0) + ms;
      if (kind === 'silentPeer' && peer !== undefined) this.#of(peer).waitedMs += ms;
    }
    this.#wait = wait;
    this.#waitSinceMs = nowMs;
  }

  waitedMs(): Partial<Record<WaitKind, number>> {
    const waited = { ...this.#waitedMs };
    if (this.#wait !== undefined) waited[this.#wait.for] = (waited[this.#wait.for] ?? 0) + this.waitAgeMs;
    for (const [kind, ms] of Object.entries(waited)) waited[kind as WaitKind] = Math.round(ms);
    return waited;
  }

  originBytesPerSecond(): number {
    return this.#rate(this.#current().reduce((sum, { slot, weight }) => sum + weight * slot.origin, 0));
  }

  peers(): TransferPeer[] {
    const recent = new Map<PeerId, number>();
    for (const { slot, weight } of this.#current())
      for (const [peer, bytes] of slot.peers) recent.set(peer, (recent.get(peer) ?? 0) + weight * bytes);
    return [...new Set([...this.#peers.keys(), ...recent.keys()])].map((peer) => {
      const { bytes, stalls, waitedMs } = this.#peers.get(peer) ?? { bytes: 0, stalls: 0, waitedMs: 0 };
      const bytesPerSecond = this.#rate(recent.get(peer) ?? 0);
      return { peer, bytes, bytesPerSecond, stalls, waitedMs: Math.round(waitedMs) };
    });
  }

  /** The slots that reach into the window, the oldest with the part of it that does. */
  #current() {
    const fromMs = this.#clock.nowMs() - recentSlots * slotMs;
    return this.#recent
      .map((slot) => ({ slot, weight: Math.min(1, (slot.sinceMs + slotMs - fromMs) / slotMs) }))
      .filter(({ weight }) => weight > 0);
  }

  #rate(bytes: number): number {
    if (this.#firstByteMs === undefined || this.#wait === undefined) return 0;
    const spanMs = Math.min(recentSlots * slotMs, this.#clock.nowMs() - this.#firstByteMs);
    return Math.round((bytes * 1000) / Math.max(slotMs, spanMs));
  }

  #of(peer: PeerId) {
    const known = this.#peers.get(peer);
    if (known !== undefined) return known;
    const account = { bytes: 0, stalls: 0, waitedMs: 0 };
    this.#peers.set(peer, account);
    return account;
  }
}

// Six slots of half a second: as long as a person looks at a figure, short enough to see a source dry up.
const slotMs = 500;
const recentSlots = 6;
