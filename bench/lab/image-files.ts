/** An image as files, for whoever pushes or serves it in another process. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageFiles } from './agent-protocol.ts';
import type { RandomImage } from './random-image.ts';

/** Writes an image into a new directory below the given one; the caller removes it. */
export function writeImageFiles(image: RandomImage, parent: string): ImageFiles {
  const directory = mkdtempSync(join(parent, 'image-'));
  for (const { digest, bytes } of [image.manifest, image.config, ...image.layers])
    writeFileSync(join(directory, digest.slice(digest.indexOf(':') + 1)), bytes);
  return {
    repository: image.repository,
    tag: image.tag,
    mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
    manifestDigest: image.manifest.digest,
    blobDigests: [image.config.digest, ...image.layers.map((layer) => layer.digest)],
    directory,
  };
}
