/** An image as files, for whoever pushes or serves it in another process. */
import { appendFileSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageFiles } from './agent-protocol.ts';
import { partsOf, type RandomImage } from './random-image.ts';

/** Writes an image into a new directory below the given one; the caller removes it. */
export function writeImageFiles(image: RandomImage, parent: string): ImageFiles {
  const directory = mkdtempSync(join(parent, 'image-'));
  for (const { digest, bytes } of [image.manifest, image.config, ...image.layers]) {
    const path = join(directory, digest.slice(digest.indexOf(':') + 1));
    for (const part of partsOf(bytes)) appendFileSync(path, part);
  }
  return {
    repository: image.repository,
    tag: image.tag,
    mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
    manifestDigest: image.manifest.digest,
    blobDigests: [image.config.digest, ...image.layers.map((layer) => layer.digest)],
    directory,
  };
}
