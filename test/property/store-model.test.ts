import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Digest } from '../../src/oci/digest.ts';
import type { Store } from '../../src/store/store.ts';
import { readAll, writePiece } from '../support/blob-store-suite.ts';
import { CrashingFiles } from '../support/crashing-files.ts';
import { createDiskHarness } from '../support/disk-harness.ts';
import { expectConsistent } from '../support/store-check.ts';
import { blobOf, type SampleBlob, sampleManifest, tagOf } from '../support/store-fixtures.ts';

const repository = { namespace: 'docker.io', name: 'library/app' };
const layers = [10, 1000, 700_000, 1_200_000].map((size, seed) => blobOf(Buffer.alloc(size, seed + 1)));
const manifests = [
  sampleManifest(layers.slice(0, 2)),
  sampleManifest(layers.slice(1)),
  sampleManifest([layers[0] ?? fail(), layers[3] ?? fail()]),
];
const blobs: readonly SampleBlob[] = [...layers, ...manifests];
const tags = ['latest', 'v1'];

const blobIndex = fc.nat(blobs.length - 1);
const manifestIndex = fc.nat(manifests.length - 1);
const tag = fc.constantFrom(...tags);
const step = fc.oneof(
  fc.record({ kind: fc.constant('write' as const), blob: blobIndex }),
  fc.record({ kind: fc.constant('ingest' as const), blob: blobIndex, pieces: fc.nat(8), isCommitted: fc.boolean() }),
  fc.record({ kind: fc.constant('remove' as const), blob: blobIndex }),
  fc.record({ kind: fc.constant('quarantine' as const), blob: blobIndex }),
  fc.record({ kind: fc.constant('manifest' as const), manifest: manifestIndex }),
  fc.record({ kind: fc.constant('tag' as const), tag, manifest: manifestIndex }),
  fc.record({ kind: fc.constant('untag' as const), tag }),
  fc.record({ kind: fc.constant('lease' as const), blob: blobIndex }),
  fc.record({ kind: fc.constant('reopen' as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

/** What the store must hold; a step cut short by a crash may have happened or not, so it is looked up and taken over. */
class Model {
  readonly blobs = new Set<Digest>();
  readonly manifests = new Set<Digest>();
  readonly tags = new Map<string, Digest>();
  readonly pieces = new Map<Digest, Set<number>>();

  apply(step: Step): void {
    if (step.kind === 'write') this.#complete(at(blobs, step.blob).digest);
    if (step.kind === 'remove' || step.kind === 'quarantine') this.blobs.delete(at(blobs, step.blob).digest);
    if (step.kind === 'manifest') this.manifests.add(at(manifests, step.manifest).digest);
    if (step.kind === 'tag') this.tags.set(step.tag, at(manifests, step.manifest).digest);
    if (step.kind === 'untag') this.tags.delete(step.tag);
    if (step.kind !== 'ingest') return;
    const blob = at(blobs, step.blob);
    const held = this.pieces.get(blob.digest) ?? new Set<number>();
    for (let index = 0; index < Math.min(step.pieces, blob.pieces.length); index += 1) held.add(index);
    this.pieces.set(blob.digest, held);
    if (step.isCommitted && held.size === blob.pieces.length) {
      this.#complete(blob.digest);
      this.pieces.delete(blob.digest);
    }
  }

  #complete(digest: Digest): void {
    this.blobs.add(digest);
  }
}

async function run(store: Store, step: Step): Promise<void> {
  if (step.kind === 'write') {
    const blob = at(blobs, step.blob);
    await store.blobs.writeBlob(blob.digest, blob.bytes);
  } else if (step.kind === 'remove') {
    await store.blobs.removeBlob(at(blobs, step.blob).digest);
  } else if (step.kind === 'quarantine') {
    await store.blobs.quarantineBlob(at(blobs, step.blob).digest, 'test');
  } else if (step.kind === 'manifest') {
    await store.metadata.putManifest(repository, at(manifests, step.manifest).record);
  } else if (step.kind === 'tag') {
    await store.metadata.putTag(repository, step.tag, tagOf(at(manifests, step.manifest)));
  } else if (step.kind === 'untag') {
    await store.metadata.deleteTag(repository, step.tag);
  } else if (step.kind === 'lease') {
    await store.metadata.lease('test', [at(blobs, step.blob).digest], Number.MAX_SAFE_INTEGER);
  } else if (step.kind === 'ingest') {
    const blob = at(blobs, step.blob);
    const ingest = await store.blobs.openIngest(blob.digest, blob.bytes.length);
    try {
      for (let index = 0; index < Math.min(step.pieces, blob.pieces.length); index += 1) {
        await writePiece(ingest, blob, index);
      }
      if (step.isCommitted && ingest.pieces.size === blob.pieces.length) await ingest.commit(blob.digest);
    } finally {
      await ingest.close();
    }
  }
}

/** Compares store and model; for the step in doubt, both outcomes are right and the one found becomes the model's. */
async function expectModel(store: Store, model: Model, inDoubt?: Step): Promise<void> {
  const maybe = new Model();
  if (inDoubt !== undefined) {
    for (const digest of model.blobs) maybe.blobs.add(digest);
    for (const [name, digest] of model.tags) maybe.tags.set(name, digest);
    for (const digest of model.manifests) maybe.manifests.add(digest);
    for (const [digest, held] of model.pieces) maybe.pieces.set(digest, new Set(held));
    maybe.apply(inDoubt);
  }
  const outcomes = inDoubt === undefined ? [model] : [model, maybe];
  for (const blob of blobs) {
    const isHeld = (await store.blobs.findBlob(blob.digest)) !== undefined;
    expect(
      outcomes.map(({ blobs }) => blobs.has(blob.digest)),
      `blob of ${blob.bytes.length}`,
    ).toContain(isHeld);
    if (isHeld) expect((await readAll(store.blobs, blob)).equals(blob.bytes)).toBe(true);
    if (isHeld) model.blobs.add(blob.digest);
    else model.blobs.delete(blob.digest);
  }
  for (const manifest of manifests) {
    const found = await store.metadata.findManifest(repository, manifest.digest);
    expect(outcomes.map((outcome) => outcome.manifests.has(manifest.digest))).toContain(found !== undefined);
    if (found === undefined) continue;
    expect(found).toEqual(manifest.record);
    model.manifests.add(manifest.digest);
  }
  for (const name of tags) {
    const digest = (await store.metadata.findTag(repository, name))?.digest;
    expect(
      outcomes.map((outcome) => outcome.tags.get(name)),
      `tag ${name}`,
    ).toContain(digest);
    if (digest === undefined) model.tags.delete(name);
    else model.tags.set(name, digest);
  }
  // An ingest in doubt may have left pieces that a later one goes on with.
  const ingested = inDoubt?.kind === 'ingest' ? [at(blobs, inDoubt.blob).digest] : [];
  for (const digest of new Set([...model.pieces.keys(), ...ingested])) {
    const held = model.pieces.get(digest) ?? new Set<number>();
    const blob = blobs.find((one) => one.digest === digest) ?? fail();
    const ingest = await store.blobs.openIngest(digest, blob.bytes.length);
    const missing = [...held].filter((index) => !ingest.pieces.has(index));
    const isMaybeGone = inDoubt !== undefined && !maybe.pieces.has(digest);
    if (!isMaybeGone) expect(missing, 'an acknowledged piece is kept').toEqual([]);
    model.pieces.set(digest, new Set(ingest.pieces.keys()));
    await ingest.close();
  }
}

it('does what the model says, through restarts and deaths at any file operation', { timeout: 600_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ step, crashAt: fc.option(fc.nat(14), { freq: 3 }) }), { minLength: 1, maxLength: 25 }),
      async (steps) => {
        const harness = await createDiskHarness();
        const failpoints = new CrashingFiles();
        let store = await harness.open({}, failpoints.files());
        const reopen = async () => {
          await store[Symbol.asyncDispose]();
          failpoints.heal();
          store = await harness.open({}, failpoints.files());
        };
        try {
          const model = new Model();
          for (const { step, crashAt } of steps) {
            if (crashAt !== null) failpoints.crashAt(crashAt);
            let isAcknowledged = true;
            try {
              await run(store, step);
            } catch (error) {
              isAcknowledged = false;
              expect(failpoints.hasCrashed, String(error)).toBe(true);
            }
            if (isAcknowledged) model.apply(step);
            if (failpoints.hasCrashed || step.kind === 'reopen') await reopen();
            failpoints.heal();
            await expectModel(store, model, isAcknowledged ? undefined : step);
          }
          await reopen();
          await expectModel(store, model);
          await expectConsistent(
            store,
            harness.dataDir,
            blobs.map(({ digest }) => digest),
          );
        } finally {
          await store[Symbol.asyncDispose]();
          await harness.dispose();
        }
      },
    ),
    { numRuns: Number(process.env['SHOAL_TEST_RUNS'] ?? 40) },
  );
});

function at<Item>(items: readonly Item[], index: number): Item {
  return items[index] ?? fail();
}

function fail(): never {
  throw new Error('no such sample');
}
