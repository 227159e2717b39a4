/** Pushes built images to a registry by plain HTTP, as the shortest client would. */
import type { OriginImage } from '../../src/cli/demo/origin-content.ts';
import { digestOf } from '../../src/oci/digest.ts';

/** Bytes of a blob made at once; blobs of hundreds of MiB are not worth streaming in a test. */
const wholeBlob = (blob: OriginImage['blobs'][number]): Uint8Array => blob.read(0, blob.sizeBytes);

/** Pushes an image; the tag goes to its last manifest, which is the root. */
export async function pushImage(
  registryUrl: string,
  repository: string,
  tag: string,
  image: OriginImage,
): Promise<void> {
  for (const blob of image.blobs) {
    const begun = await fetch(`${registryUrl}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
    if (begun.status !== 202) throw new Error(`upload refused: ${begun.status} ${await begun.text()}`);
    const location = new URL(begun.headers.get('location') ?? '', registryUrl);
    location.searchParams.set('digest', blob.digest);
    const headers = { 'content-type': 'application/octet-stream' };
    const put = await fetch(location, { method: 'PUT', headers, body: wholeBlob(blob) as Uint8Array<ArrayBuffer> });
    if (put.status !== 201) throw new Error(`upload failed: ${put.status} ${await put.text()}`);
  }
  for (const [index, manifest] of image.manifests.entries()) {
    const isRoot = index === image.manifests.length - 1;
    const digest = manifest.digest ?? digestOf(manifest.bytes);
    const put = await fetch(`${registryUrl}/v2/${repository}/manifests/${isRoot ? tag : digest}`, {
      method: 'PUT',
      headers: { 'content-type': manifest.mediaType },
      body: manifest.bytes as Uint8Array<ArrayBuffer>,
    });
    if (put.status !== 201) throw new Error(`manifest refused: ${put.status} ${await put.text()}`);
  }
}
