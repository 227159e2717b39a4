/**
 * Fills a store for ever and says on standard output what was acknowledged, one JSON line each; the fault test kills it.
 * Arguments: data directory, seed.
 */
import { writeSync } from 'node:fs';
import { seededRandom, systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { openStore } from '../../src/store/disk/open-store.ts';
import { storeOptions } from './disk-harness.ts';
import { blobOf, type SampleBlob, sampleManifest, tagOf } from './store-fixtures.ts';

const [dataDir = '', seed = '1'] = process.argv.slice(2);
const random = seededRandom(Number(seed));
const repository = { namespace: 'docker.io', name: 'library/app' };
const store = await openStore({ clock: systemClock, logger: silentLogger }, { ...storeOptions, dataDir });

/** Written at once and in full: what the parent reads was acknowledged before the kill. */
function acknowledge(fact: object): void {
  writeSync(1, `${JSON.stringify(fact)}\n`);
}

function randomBlob(): SampleBlob {
  const bytes = Buffer.allocUnsafe(Math.floor(random.next() * 3_000_000));
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE(Math.floor(random.next() * 2 ** 32), at);
  bytes.fill(0, bytes.length & ~3);
  return blobOf(bytes);
}

async function ingest(): Promise<SampleBlob> {
  const blob = randomBlob();
  const ingest = await store.blobs.openIngest(blob.digest, blob.bytes.length);
  for (const piece of blob.pieces) {
    await ingest.writePiece(piece, blob.pieceBytes(piece.index));
    acknowledge({ kind: 'piece', digest: blob.digest, sizeBytes: blob.bytes.length, index: piece.index });
  }
  await ingest.commit(blob.digest);
  acknowledge({ kind: 'blob', digest: blob.digest });
  return blob;
}

async function work(worker: number): Promise<never> {
  for (let round = 0; ; round += 1) {
    const manifest = sampleManifest([await ingest(), await ingest()]);
    await store.blobs.writeBlob(manifest.digest, manifest.bytes);
    acknowledge({ kind: 'blob', digest: manifest.digest });
    await store.metadata.putManifest(repository, manifest.record);
    acknowledge({ kind: 'manifest', digest: manifest.digest });
    const tag = `w${worker}-${round % 3}`;
    await store.metadata.putTag(repository, tag, tagOf(manifest, Date.now()));
    acknowledge({ kind: 'tag', tag, digest: manifest.digest });
    if (round % 4 !== 3) continue;
    const [old] = manifest.record.children;
    if (old === undefined) continue;
    acknowledge({ kind: 'removing', digest: old.digest });
    await store.blobs.removeBlob(old.digest);
    acknowledge({ kind: 'removed', digest: old.digest });
  }
}

acknowledge({ kind: 'ready' });
await Promise.all([work(0), work(1)]);
