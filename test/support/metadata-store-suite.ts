import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Digest } from '../../src/oci/digest.ts';
import type { MetadataStore } from '../../src/store/metadata-store.ts';
import type { Store } from '../../src/store/store.ts';
import type { StoreHarness } from './blob-store-suite.ts';
import { collect, sampleBlob, sampleManifest, tagOf } from './store-fixtures.ts';

const hub = { namespace: 'docker.io', name: 'library/nginx' };
const other = { namespace: 'localhost:5000', name: 'team/app' };

/** What every MetadataStore does. */
export function describeMetadataStore(name: string, createHarness: () => Promise<StoreHarness>): void {
  describe(`${name} as a metadata store`, () => {
    let harness: StoreHarness;
    let store: Store;
    let metadata: MetadataStore;

    beforeEach(async () => {
      harness = await createHarness();
      store = await harness.open();
      metadata = store.metadata;
    });

    afterEach(async () => {
      await store[Symbol.asyncDispose]();
      await harness.dispose();
    });

    const config = sampleBlob(20);
    const layer = sampleBlob(30);
    const manifest = sampleManifest([config, layer]);

    async function expectCounted(...digests: Digest[]): Promise<void> {
      for (const digest of digests) {
        expect(await metadata.countEdges(digest), digest).toBe((await metadata.listEdges(digest)).length);
      }
    }

    it('finds a manifest in its repository alone, and anywhere by its digest', async () => {
      expect(await metadata.findManifest(hub, manifest.digest)).toBeUndefined();
      expect(await metadata.findManifestAnywhere(manifest.digest)).toBeUndefined();
      await metadata.putManifest(hub, manifest.record);
      expect(await metadata.findManifest(hub, manifest.digest)).toEqual(manifest.record);
      expect(await metadata.findManifest(other, manifest.digest)).toBeUndefined();
      expect(await metadata.findManifestAnywhere(manifest.digest)).toEqual(manifest.record);
    });

    it('keeps everything a manifest record can say', async () => {
      const record = {
        ...manifest.record,
        artifactType: 'application/x-test',
        children: [
          {
            mediaType: 'application/vnd.oci.image.manifest.v1+json',
            digest: layer.digest,
            sizeBytes: 9,
            platform: { os: 'linux', architecture: 'arm64', variant: 'v8' },
            artifactType: 'a/b',
            annotations: { 'org.example': 'ü ! %' },
            urls: ['https://elsewhere.example/x'],
          },
        ],
        provenance: 'local' as const,
      };
      await metadata.putManifest(hub, record);
      expect(await metadata.findManifest(hub, record.digest)).toEqual(record);
    });

    it('holds children, subject and the manifest itself by edges, once each', async () => {
      const referrer = sampleManifest([config, config, layer], manifest);
      for (let round = 0; round < 2; round += 1) {
        await metadata.putManifest(hub, manifest.record);
        await metadata.putManifest(hub, referrer.record);
      }
      expect(await metadata.listEdges(layer.digest)).toEqual(
        expect.arrayContaining([
          { kind: 'child', owner: `docker.io/library/nginx@${manifest.digest}` },
          { kind: 'child', owner: `docker.io/library/nginx@${referrer.digest}` },
        ]),
      );
      expect(await metadata.listEdges(manifest.digest)).toEqual(
        expect.arrayContaining([
          { kind: 'repository', owner: 'docker.io/library/nginx' },
          { kind: 'subject', owner: `docker.io/library/nginx@${referrer.digest}` },
        ]),
      );
      expect(await metadata.countEdges(config.digest)).toBe(2);
      expect(await metadata.countEdges(manifest.digest)).toBe(2);
      await expectCounted(config.digest, layer.digest, manifest.digest, referrer.digest);
    });

    it('never makes pushed content evictable because it is also cached', async () => {
      await metadata.putManifest(hub, { ...manifest.record, provenance: 'local' });
      await metadata.putManifest(hub, manifest.record);
      await metadata.putManifest(other, manifest.record);
      expect((await metadata.findManifest(hub, manifest.digest))?.provenance).toBe('local');
      expect((await metadata.findManifest(other, manifest.digest))?.provenance).toBe('cache');
      expect((await metadata.findManifestAnywhere(manifest.digest))?.provenance).toBe('local');
    });

    it('counts right when many manifests that share children are put at once', async () => {
      const manifests = Array.from({ length: 20 }, () => sampleManifest([sampleBlob(5), config, layer]));
      await Promise.all(
        manifests.flatMap(({ record }) => [metadata.putManifest(hub, record), metadata.putManifest(other, record)]),
      );
      expect(await metadata.countEdges(layer.digest)).toBe(40);
      await expectCounted(config.digest, layer.digest, ...manifests.map(({ digest }) => digest));
    });

    it('moves a tag and its edge', async () => {
      const next = sampleManifest([config, sampleBlob(8)]);
      await metadata.putTag(hub, 'latest', { ...tagOf(manifest), etag: '"x"' });
      expect(await metadata.findTag(hub, 'latest')).toEqual({ ...tagOf(manifest), etag: '"x"' });
      expect(await metadata.listEdges(manifest.digest)).toEqual([
        { kind: 'tag', owner: 'docker.io/library/nginx:latest' },
      ]);
      await metadata.putTag(hub, 'latest', tagOf(next, 7));
      expect(await metadata.findTag(hub, 'latest')).toEqual(tagOf(next, 7));
      expect(await metadata.countEdges(manifest.digest)).toBe(0);
      expect(await metadata.countEdges(next.digest)).toBe(1);
      await metadata.putTag(hub, 'latest', tagOf(next, 9));
      expect((await metadata.findTag(hub, 'latest'))?.confirmedAtMs).toBe(9);
      expect(await metadata.countEdges(next.digest)).toBe(1);
      await metadata.deleteTag(hub, 'latest');
      await metadata.deleteTag(hub, 'latest');
      expect(await metadata.findTag(hub, 'latest')).toBeUndefined();
      expect(await metadata.countEdges(next.digest)).toBe(0);
      await expectCounted(manifest.digest, next.digest);
    });

    it('ends with one edge when a tag is moved by many at once', async () => {
      const all = Array.from({ length: 10 }, () => sampleManifest([sampleBlob(4)]));
      await Promise.all(all.map((one) => metadata.putTag(hub, 'latest', tagOf(one))));
      const held = await metadata.findTag(hub, 'latest');
      const counts = await Promise.all(all.map((one) => metadata.countEdges(one.digest)));
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(1);
      expect(counts[all.findIndex((one) => one.digest === held?.digest)]).toBe(1);
    });

    it('lists tags in lexical order, in pages', async () => {
      const tags = ['latest', '1.10', '1.9', '_x', 'A', 'a-b', 'a.b', '1'];
      for (const tag of tags) await metadata.putTag(hub, tag, tagOf(manifest));
      await metadata.putTag(other, 'zzz', tagOf(manifest));
      const sorted = [...tags].sort();
      expect(await metadata.listTags(hub, { limit: 100 })).toEqual(sorted);
      expect(await metadata.listTags(hub, { limit: 3 })).toEqual(sorted.slice(0, 3));
      expect(await metadata.listTags(hub, { limit: 3, last: sorted[2] ?? '' })).toEqual(sorted.slice(3, 6));
      expect(await metadata.listTags(hub, { limit: 3, last: 'zzz' })).toEqual([]);
      expect(await metadata.listTags(hub, { limit: 0 })).toEqual([]);
      expect(await metadata.listTags({ namespace: 'docker.io', name: 'library' }, { limit: 9 })).toEqual([]);
    });

    it('lists repositories in order, in pages, without those that have nothing left', async () => {
      const names = ['b', 'a/b', 'a', 'a-b', 'a/b/c'].map((name) => ({ namespace: 'docker.io', name }));
      for (const repository of names) await metadata.putManifest(repository, manifest.record);
      await metadata.putTag(other, 'latest', tagOf(manifest));
      await metadata.putTag({ namespace: 'z', name: 'gone' }, 'latest', tagOf(manifest));
      await metadata.deleteTag({ namespace: 'z', name: 'gone' }, 'latest');
      const all = await metadata.listRepositories({ limit: 100 });
      expect(all).toHaveLength(6);
      expect(all.at(-1)).toEqual(other);
      const last = all[1];
      if (last === undefined) throw new Error('no page');
      expect(await metadata.listRepositories({ limit: 2 })).toEqual(all.slice(0, 2));
      expect(await metadata.listRepositories({ limit: 2, last })).toEqual(all.slice(2, 4));
    });

    it('keeps names apart that could be mistaken for one another', async () => {
      const strange = { namespace: 'a!b', name: 'c%21' };
      await metadata.putTag(strange, 't!x ü', tagOf(manifest));
      expect(await metadata.findTag({ namespace: 'a', name: 'b!c%21' }, 't!x ü')).toBeUndefined();
      expect(await metadata.listTags(strange, { limit: 5 })).toEqual(['t!x ü']);
      expect(await metadata.listRepositories({ limit: 5 })).toEqual([strange]);
      expect(await metadata.listEdges(manifest.digest)).toEqual([{ kind: 'tag', owner: 'a!b/c%21:t!x ü' }]);
    });

    it('walks the manifests of a repository', async () => {
      const second = sampleManifest([sampleBlob(3)]);
      await metadata.putManifest(hub, manifest.record);
      await metadata.putManifest(hub, second.record);
      await metadata.putManifest(other, sampleManifest([sampleBlob(3)]).record);
      const walked = await collect(metadata.walkManifests(hub));
      expect(new Set(walked.map(({ digest }) => digest))).toEqual(new Set([manifest.digest, second.digest]));
    });

    it('finds where a blob is named', async () => {
      await metadata.putManifest(hub, manifest.record);
      await metadata.putManifest(other, manifest.record);
      const parents = await metadata.findParents(layer.digest);
      expect(parents.map(({ repository }) => repository)).toEqual([hub, other]);
      expect(parents[0]).toEqual({
        repository: hub,
        manifest: manifest.digest,
        descriptor: manifest.record.children[1],
      });
      expect(await metadata.findParents(manifest.digest)).toEqual([]);
    });

    it('holds digests by leases until they expire', async () => {
      await metadata.lease('pull-1', [layer.digest, config.digest], 1000);
      await metadata.lease('pull-1', [layer.digest], 3000);
      await metadata.lease('pull-1', [layer.digest], 2000);
      await metadata.lease('pull-2', [layer.digest], 1500);
      expect(await metadata.listEdges(layer.digest)).toEqual([
        { kind: 'lease', owner: 'pull-1' },
        { kind: 'lease', owner: 'pull-2' },
      ]);
      await expectCounted(layer.digest, config.digest);
      expect(await metadata.expireLeases(999)).toBe(0);
      expect(await metadata.expireLeases(2000)).toBe(2);
      expect(await metadata.countEdges(config.digest)).toBe(0);
      expect(await metadata.listEdges(layer.digest)).toEqual([{ kind: 'lease', owner: 'pull-1' }]);
      expect(await metadata.expireLeases(3000)).toBe(1);
      await expectCounted(layer.digest, config.digest);
    });
  });
}
