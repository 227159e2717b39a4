import { LRUCache } from 'lru-cache';
import type { Digest } from '../../oci/digest.ts';
import type { KeyChange, KeyValue } from '../key-value.ts';
import { keyDigest, keyParts, keys, prefixRange } from './keys.ts';
import { decodeRecord, encodeRecord } from './records.ts';

// About 60 MiB at the worst; a digest over the bound loses its leases, oldest use first, and is then held by the collector's grace.
const maxLeasedDigests = 200_000;
// One flush writes at most this many keys per batch, so that a big table does not stall other writers.
const flushBatchKeys = 1000;

/**
 * Leases in memory, where they are looked up and extended on every answer; written to the index only now and then. A lease lost
 * in a crash before its first flush is covered by the collector's grace, which must be longer than the flush interval.
 */
export class LeaseTable {
  readonly #keyValue: KeyValue;
  // With `max` the library sets aside 6 MB for the worst case; a bound by size grows with what is there.
  readonly #expiries = new LRUCache<Digest, Map<string, number>>({
    maxSize: maxLeasedDigests,
    sizeCalculation: () => 1,
  });
  /** No lease ends before this, so that most calls of `expire` have nothing to look at. */
  #earliestEndMs = Number.POSITIVE_INFINITY;
  readonly #unsaved = new Map<string, { owner: string; digest: Digest }>();

  constructor(keyValue: KeyValue) {
    this.#keyValue = keyValue;
  }

  /** Takes over what an earlier life saved. */
  async load(): Promise<void> {
    for await (const [key, text] of this.#keyValue.walk(prefixRange('L!'))) {
      const [, owner, digestText] = keyParts(key);
      const digest = keyDigest(digestText);
      if (owner === undefined || digest === undefined) continue;
      this.#set(
        owner,
        digest,
        decodeRecord(key, text, (fields) => fields.number('expiresAtMs')),
      );
    }
  }

  /** Takes a lease or moves its end later, never earlier. */
  extend(owner: string, digests: readonly Digest[], expiresAtMs: number): void {
    for (const digest of digests) {
      if ((this.#expiries.get(digest)?.get(owner) ?? 0) >= expiresAtMs) continue;
      this.#set(owner, digest, expiresAtMs);
      this.#unsaved.set(keys.lease(owner, digest), { owner, digest });
    }
  }

  /** Lists who holds a lease on the digest. */
  owners(digest: Digest): string[] {
    return [...(this.#expiries.peek(digest)?.keys() ?? [])];
  }

  count(digest: Digest): number {
    return this.#expiries.peek(digest)?.size ?? 0;
  }

  /** Ends what has expired, here and in the index; returns how many. */
  async expire(nowMs: number): Promise<number> {
    if (nowMs < this.#earliestEndMs) return 0;
    const ended: string[] = [];
    let earliestEndMs = Number.POSITIVE_INFINITY;
    for (const [digest, owners] of [...this.#expiries.entries()]) {
      for (const [owner, expiresAtMs] of owners) {
        if (expiresAtMs > nowMs) {
          earliestEndMs = Math.min(earliestEndMs, expiresAtMs);
          continue;
        }
        owners.delete(owner);
        const key = keys.lease(owner, digest);
        this.#unsaved.delete(key);
        ended.push(key);
      }
      if (owners.size === 0) this.#expiries.delete(digest);
    }
    this.#earliestEndMs = earliestEndMs;
    await this.#write(ended.map((key) => ({ type: 'del', key })));
    return ended.length;
  }

  /** Saves what changed since the last flush. */
  async flush(): Promise<void> {
    const changes: KeyChange[] = [];
    for (const [key, { owner, digest }] of this.#unsaved) {
      const expiresAtMs = this.#expiries.peek(digest)?.get(owner);
      if (expiresAtMs === undefined) continue;
      changes.push({ type: 'put', key, value: encodeRecord({ expiresAtMs }) });
    }
    this.#unsaved.clear();
    await this.#write(changes);
  }

  #set(owner: string, digest: Digest, expiresAtMs: number): void {
    const owners = this.#expiries.get(digest) ?? new Map<string, number>();
    owners.set(owner, expiresAtMs);
    this.#earliestEndMs = Math.min(this.#earliestEndMs, expiresAtMs);
    this.#expiries.set(digest, owners);
  }

  async #write(changes: readonly KeyChange[]): Promise<void> {
    for (let at = 0; at < changes.length; at += flushBatchKeys) {
      await this.#keyValue.batch(changes.slice(at, at + flushBatchKeys), { isDurable: false });
    }
  }
}
