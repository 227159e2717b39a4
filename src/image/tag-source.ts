import type { TagSource } from '../discovery/tag-hints.ts';
import type { ImagesDeps } from './deps.ts';
import type { ManifestShelf } from './manifest-shelf.ts';

/** What this node tells its peers: its own records and manifests, never what it would have to ask others for. */
export function createTagSource(deps: ImagesDeps, manifests: ManifestShelf): TagSource {
  const { blobs, metadata } = deps.store;
  return {
    async findTag(repository, tag) {
      const record = await metadata.findTag(repository, tag);
      if (record === undefined) return undefined;
      const { digest, mediaType, sizeBytes, confirmedAtMs } = record;
      return { digest, mediaType, sizeBytes, confirmedAtMs };
    },
    findManifest: (digest, waitMs, signal) => manifests.findForPeer(digest, waitMs, signal),
    async findSize(digest) {
      const held = await blobs.findBlob(digest);
      return held?.sizeBytes ?? (await metadata.findParents(digest))[0]?.descriptor.sizeBytes;
    },
  };
}
