import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { seededRandom, systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { type Digest, parseDigest } from '../../src/oci/digest.ts';
import { openStore } from '../../src/store/disk/open-store.ts';
import { createDiskHarness, storeOptions } from '../support/disk-harness.ts';
import { expectConsistent } from '../support/store-check.ts';

const rounds = 25;
const repository = { namespace: 'docker.io', name: 'library/app' };
const childPath = fileURLToPath(new URL('../support/store-child.ts', import.meta.url));

type Fact =
  | { kind: 'ready' }
  | { kind: 'blob' | 'manifest' | 'removing' | 'removed'; digest: string }
  | { kind: 'piece'; digest: string; sizeBytes: number; index: number }
  | { kind: 'tag'; tag: string; digest: string };

/** Everything the children were promised, over all rounds. */
class Promised {
  readonly blobs = new Set<Digest>();
  readonly manifests = new Set<Digest>();
  readonly tags = new Map<string, Digest>();
  readonly ingests = new Map<Digest, { sizeBytes: number; indexes: Set<number> }>();

  add(fact: Fact): void {
    if (fact.kind === 'ready') return;
    const digest = parseDigest(fact.digest);
    if (fact.kind === 'blob') {
      this.blobs.add(digest);
      this.ingests.delete(digest);
    }
    if (fact.kind === 'removing') this.blobs.delete(digest);
    if (fact.kind === 'manifest') this.manifests.add(digest);
    if (fact.kind === 'tag') this.tags.set(fact.tag, digest);
    if (fact.kind !== 'piece') return;
    const ingest = this.ingests.get(digest) ?? { sizeBytes: fact.sizeBytes, indexes: new Set() };
    ingest.indexes.add(fact.index);
    this.ingests.set(digest, ingest);
  }
}

/** Runs a child until it has worked for a while, kills it, and adds what it acknowledged. */
async function runAndKill(dataDir: string, seed: number, afterMs: number, promised: Promised): Promise<number> {
  const child = spawn(process.execPath, [childPath, dataDir, String(seed)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  const ready = Promise.withResolvers<void>();
  let facts = 0;
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    const fact: Fact = JSON.parse(line);
    if (fact.kind === 'ready') ready.resolve();
    promised.add(fact);
    facts += 1;
  });
  closed.then(() => ready.reject(new Error('the child ended before it was ready')), ready.reject);
  await ready.promise;
  await setTimeout(afterMs);
  child.kill('SIGKILL');
  await closed;
  return facts;
}

it(`keeps every promise through ${rounds} kills`, async () => {
  const harness = await createDiskHarness();
  const random = seededRandom(Number(process.env['SHOAL_TEST_SEED'] ?? 20301));
  const promised = new Promised();
  try {
    let facts = 0;
    for (let round = 0; round < rounds; round += 1) {
      facts += await runAndKill(harness.dataDir, round + 1, 20 + random.next() * 400, promised);
      const store = await openStore(
        { clock: systemClock, logger: silentLogger },
        { ...storeOptions, dataDir: harness.dataDir },
      );
      try {
        await expectConsistent(store, harness.dataDir, [...promised.blobs, ...promised.manifests]);
        for (const digest of promised.blobs) expect(await store.blobs.findBlob(digest), digest).toBeDefined();
        for (const digest of promised.manifests) {
          expect(await store.metadata.findManifest(repository, digest), digest).toBeDefined();
        }
        for (const [tag, digest] of promised.tags) {
          const found = await store.metadata.findTag(repository, tag);
          // A tag may have moved on just before the kill; it never falls back and never points at nothing.
          expect(await store.metadata.findManifest(repository, found?.digest ?? digest), tag).toBeDefined();
          expect(found, tag).toBeDefined();
        }
        for (const [digest, { sizeBytes, indexes }] of promised.ingests) {
          promised.ingests.delete(digest);
          // Committed, and killed before the word came out.
          if ((await store.blobs.findBlob(digest)) !== undefined) continue;
          const ingest = await store.blobs.openIngest(digest, sizeBytes);
          expect(new Set(ingest.pieces.keys()), `pieces of ${digest}`).toEqual(
            new Set([...ingest.pieces.keys(), ...indexes]),
          );
          await ingest.discard();
        }
      } finally {
        await store[Symbol.asyncDispose]();
      }
    }
    // Kills in the middle of nothing would prove nothing; a slow disk promises less in the same time.
    expect(facts).toBeGreaterThan(rounds);
  } finally {
    await harness.dispose();
  }
});
