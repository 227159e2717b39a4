import type { SignedPiece } from '../../content/signed-piece.ts';
import type { Digest } from '../../oci/digest.ts';
import type { BlobRecord } from '../blob-store.ts';
import type { KeyChange, KeyValue } from '../key-value.ts';
import { keyDigest, keyParts, keys, prefixRange } from './keys.ts';
import { decodeRecord, encodeRecord, type Fields } from './records.ts';
import { decodeSignedPieces, encodeSignedPieces } from './signed-pieces.ts';

// Ten minutes: fine enough to choose what to evict, coarse enough that a busy blob costs six writes an hour.
const useBucketMs = 10 * 60 * 1000;
// A bucket number with leading zeros sorts as text; 10 digits last for 190,000 years.
const bucketDigits = 10;
// Uses kept in memory between flushes; past it the oldest wait no longer and are simply not counted.
const maxPendingUses = 50_000;

/** The records of complete blobs. Callers hold the digest's lock around a change; uses are collected and flushed lazily. */
export class BlobIndex {
  readonly #keyValue: KeyValue;
  readonly #pendingUses = new Map<Digest, string>();

  constructor(keyValue: KeyValue) {
    this.#keyValue = keyValue;
  }

  async find(digest: Digest): Promise<BlobRecord | undefined> {
    const key = keys.blob(digest);
    const text = await this.#keyValue.find(key);
    return text === undefined ? undefined : decodeRecord(key, text, (fields) => readBlob(digest, fields));
  }

  async put(record: BlobRecord, options: { signedPieces?: readonly SignedPiece[]; isDurable: boolean }): Promise<void> {
    const { digest, sizeBytes, storedAtMs } = record;
    const changes: KeyChange[] = [
      { type: 'put', key: keys.blob(digest), value: encodeRecord({ sizeBytes, storedAtMs }) },
      ...(await this.#useChanges(digest, useBucket(storedAtMs))),
    ];
    if (options.signedPieces !== undefined && options.signedPieces.length > 0) {
      changes.push({ type: 'put', key: keys.signedPieces(digest), value: encodeSignedPieces(options.signedPieces) });
    }
    await this.#keyValue.batch(changes, { isDurable: options.isDurable });
  }

  /** Takes the record away and, in the same batch, notes that the file must follow. */
  async remove(digest: Digest, tombstone?: string): Promise<void> {
    const lastUse = await this.#keyValue.find(keys.lastUse(digest));
    const changes: KeyChange[] = [keys.blob(digest), keys.signedPieces(digest), keys.lastUse(digest)].map((key) => ({
      type: 'del',
      key,
    }));
    if (lastUse !== undefined) changes.push({ type: 'del', key: keys.useOrder(lastUse, digest) });
    if (tombstone !== undefined) changes.push({ type: 'put', key: keys.tombstone(digest, tombstone), value: '' });
    this.#pendingUses.delete(digest);
    await this.#keyValue.batch(changes, { isDurable: true });
  }

  async *walk(): AsyncIterable<BlobRecord> {
    for await (const [key, text] of this.#keyValue.walk(prefixRange('b!'))) {
      const digest = keyDigest(keyParts(key)[1]);
      if (digest !== undefined) yield decodeRecord(key, text, (fields) => readBlob(digest, fields));
    }
  }

  async *walkLeastRecentlyUsed(): AsyncIterable<BlobRecord> {
    for await (const [key] of this.#keyValue.walk(prefixRange('a!'))) {
      const [, bucket, digestText] = keyParts(key);
      const digest = keyDigest(digestText);
      // A position left by a crash between two flushes is not the last word.
      if (digest === undefined || (await this.#keyValue.find(keys.lastUse(digest))) !== bucket) continue;
      const record = await this.find(digest);
      if (record !== undefined) yield record;
    }
  }

  async *walkTombstones(): AsyncIterable<{ digest: Digest; generation: string }> {
    for await (const [key] of this.#keyValue.walk(prefixRange('z!'))) {
      const [, digestText, generation] = keyParts(key);
      const digest = keyDigest(digestText);
      if (digest !== undefined && generation !== undefined) yield { digest, generation };
    }
  }

  async removeTombstone(digest: Digest, generation: string): Promise<void> {
    await this.#keyValue.batch([{ type: 'del', key: keys.tombstone(digest, generation) }], { isDurable: false });
  }

  async findSignedPieces(digest: Digest): Promise<readonly SignedPiece[] | undefined> {
    const key = keys.signedPieces(digest);
    const text = await this.#keyValue.find(key);
    return text === undefined ? undefined : decodeSignedPieces(key, text);
  }

  async putSignedPieces(digest: Digest, pieces: readonly SignedPiece[]): Promise<void> {
    await this.#keyValue.batch(
      [{ type: 'put', key: keys.signedPieces(digest), value: encodeSignedPieces(pieces) }],
      // They can be made again from the bytes; not worth a wait for the disk.
      { isDurable: false },
    );
  }

  /** Notes that a blob was used; costs no write until the flush. */
  use(digest: Digest, nowMs: number): void {
    if (this.#pendingUses.size >= maxPendingUses && !this.#pendingUses.has(digest)) return;
    this.#pendingUses.set(digest, useBucket(nowMs));
  }

  /** Writes the uses collected since the last flush. */
  async flushUses(lock: (digest: Digest, work: () => Promise<void>) => Promise<void>): Promise<void> {
    const uses = [...this.#pendingUses];
    this.#pendingUses.clear();
    for (const [digest, bucket] of uses) {
      if ((await this.#keyValue.find(keys.lastUse(digest))) === bucket) continue;
      await lock(digest, async () => {
        if ((await this.find(digest)) === undefined) return;
        await this.#keyValue.batch(await this.#useChanges(digest, bucket), { isDurable: false });
      });
    }
  }

  async #useChanges(digest: Digest, bucket: string): Promise<KeyChange[]> {
    const old = await this.#keyValue.find(keys.lastUse(digest));
    if (old === bucket) return [];
    return [
      ...(old === undefined ? [] : [{ type: 'del', key: keys.useOrder(old, digest) } as const]),
      { type: 'put', key: keys.lastUse(digest), value: bucket },
      { type: 'put', key: keys.useOrder(bucket, digest), value: '' },
    ];
  }
}

function readBlob(digest: Digest, fields: Fields): BlobRecord {
  return { digest, sizeBytes: fields.number('sizeBytes'), storedAtMs: fields.number('storedAtMs') };
}

function useBucket(wallMs: number): string {
  return String(Math.floor(wallMs / useBucketMs)).padStart(bucketDigits, '0');
}
