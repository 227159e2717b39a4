import type { PullRequest } from '../image/images.ts';
import { type Descriptor, isRequired, type Platform } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { isIndexType, isManifestType } from '../oci/media-type.ts';
import { choosePlatform } from '../oci/platform.ts';
import type { ManifestRecord, MetadataStore } from '../store/metadata-store.ts';

/** The manifest a reference names and the blobs of the images below it, as far as this node knows. */
export interface ImageBlobs {
  readonly digest: Digest;
  readonly blobs: readonly Descriptor[];
}

// As many images as a pull of all platforms takes from an index.
const maxManifests = 256;

/** Finds the blobs of an image in the index of the store alone; undefined = this node has not seen it. */
export async function findImageBlobs(
  metadata: Pick<MetadataStore, 'findTag' | 'findManifest'>,
  { repository, reference, platform }: PullRequest,
  nodePlatform: Platform,
): Promise<ImageBlobs | undefined> {
  const digest = 'digest' in reference ? reference.digest : (await metadata.findTag(repository, reference.tag))?.digest;
  const root = digest === undefined ? undefined : await metadata.findManifest(repository, digest);
  if (root === undefined) return undefined;
  const blobs = new Map<Digest, Descriptor>();
  const seen = new Set<Digest>();
  const queue: ManifestRecord[] = [root];
  for (let manifest = queue.shift(); manifest !== undefined; manifest = queue.shift()) {
    if (seen.has(manifest.digest) || seen.size >= maxManifests) continue;
    seen.add(manifest.digest);
    if (!isIndexType(manifest.mediaType)) {
      for (const child of manifest.children) if (isRequired(child)) blobs.set(child.digest, child);
      continue;
    }
    const images = manifest.children.filter((child) => isManifestType(child.mediaType) && isRequired(child));
    const chosen = platform === 'all' ? images : [choosePlatform(images, platform ?? nodePlatform)];
    for (const child of chosen) {
      const known = child === undefined ? undefined : await metadata.findManifest(repository, child.digest);
      if (known !== undefined) queue.push(known);
    }
  }
  return { digest: root.digest, blobs: [...blobs.values()] };
}
